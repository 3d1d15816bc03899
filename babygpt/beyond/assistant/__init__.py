"""From a completer of documents to an assistant that obeys: the stages after pretraining, one file per idea."""
