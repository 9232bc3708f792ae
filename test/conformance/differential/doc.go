// Package differential holds the catalogue beside upstream's own code. It links upstream's strategies (what
// its API server does to an object between decoding and storage) and printers, hands random writes to them and
// to the catalogue, and compares what comes out: faults, warnings, the stored object, the row of its table.
//
// The writes are walks: from the examples of package mutation, through changes that follow the Go types of the objects,
// from each object that upstream accepted to the next. What upstream answers alone decides
// where a walk goes, so a seed names the same writes whatever the catalogue does.
//
// The list in accepted.go is what is allowed to differ, and why.
package differential
