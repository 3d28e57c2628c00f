"""Plans of all configs: what a run will take (`mimtransfer.planning`), for pretraining methods too."""
