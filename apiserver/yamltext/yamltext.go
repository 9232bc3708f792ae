// Package yamltext bounds what YAML costs that clients send: while it is turned into JSON, the library holds some thirty
// times its size in memory. Long texts are converted one after the other, as far as they exceed what is given to all
// of them together, and none is converted twice unless it says something twice.
package yamltext

import (
	"context"

	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/yaml"
)

const (
	// together is how much text is converted at a time: one that is as long as a body may be.
	together = 3 << 20
	// short texts do not wait: all requests that may be under way at a time cost less with them than one long text.
	short = 16 << 10
)

var turns = semaphore.NewWeighted(together)

// Turn waits until a text of some size may be converted, or ctx ends. done must be called when what is made of the text is
// all that is left of it.
func Turn(ctx context.Context, size int) (done func(), err error) {
	if size <= short {
		return func() {}, nil
	}
	n := min(int64(size), together)
	if err := turns.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { turns.Release(n) }, nil
}

// ToJSON converts a text whose turn it is. duplicates says which keys are there twice, the last of which counts.
func ToJSON(text []byte) (converted []byte, duplicates, err error) {
	if converted, duplicates = yaml.YAMLToJSONStrict(text); duplicates == nil {
		return converted, nil, nil
	}
	converted, err = yaml.YAMLToJSON(text)
	return converted, duplicates, err
}
