// Package jsonpatch applies JSON patches by upstream's library, and holds it to what it promises.
package jsonpatch

import (
	"fmt"

	"gopkg.in/evanphx/json-patch.v4"
)

// Apply returns document as patch changes it. The library panics at a few operations that lack something, such as a
// replacement of the whole by nothing; here that is an error like others.
func Apply(patch jsonpatch.Patch, document []byte) (changed []byte, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("jsonpatch operation does not apply: %v", cause)
		}
	}()
	return patch.Apply(document)
}
