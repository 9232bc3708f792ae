package allocate

import (
	"errors"
	"fmt"

	"clipper/api"
)

// errLate: what was hidden can be read now, but the pools have not heard of it yet.
var errLate = errors.New("they can be again, from now on")

// complete returns an error if something cannot be read that may hold addresses or ports: a service whose stored value
// cannot be decrypted keeps what it has, although no view shows it.
func (a *Allocator) complete() error {
	for _, of := range []struct {
		view api.View
		what api.Resource
	}{{a.services.View, api.Services.Resource}, {a.kept.View, api.IPAddresses.Resource}} {
		p, ok := of.view.(api.Partial)
		if !ok || !p.Hides("") {
			continue
		}
		err := p.Complete("") // tries to read it again
		if err == nil {
			err = errLate
		}
		return fmt.Errorf("nothing is given out, as not all %s can be read: %w", of.what.GroupResource(), err)
	}
	return nil
}
