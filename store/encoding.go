package store

// encodingCache keeps the wire forms of one item, each made at most once.
type encodingCache struct{}
