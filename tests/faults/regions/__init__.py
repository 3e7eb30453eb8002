"""Two regions, each a cell with its own Kafka, database and consumer; MirrorMaker 2 mirrors the topics of each to the other."""
