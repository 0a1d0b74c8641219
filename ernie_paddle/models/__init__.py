"""The encoder of BERT, ERNIE and ERNIE-M, and its heads."""
