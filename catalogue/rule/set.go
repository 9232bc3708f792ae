// Package rule is the vocabulary of the catalogue's descriptions: small functions with which defaults and
// field rules read like the sentences they stand for. Messages are upstream's.
package rule

// SetIfEmpty gives *p a value if it has none.
func SetIfEmpty[V comparable](p *V, value V) {
	var zero V
	if *p == zero {
		*p = value
	}
}

// SetIfNil makes *p point to a value if it points to none.
func SetIfNil[V any](p **V, value V) {
	if *p == nil {
		*p = &value
	}
}
