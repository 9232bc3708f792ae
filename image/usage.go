package image

import (
	"context"

	"clipper/diskusage"
)

// Usage is what the images take, containers' root file systems not counted. It costs a walk of all of them: ask
// rarely.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	var total Usage
	for _, dir := range []string{s.path("blobs"), s.path("layers")} {
		u, err := diskusage.Of(ctx, dir)
		if err != nil {
			return total, err
		}
		total = total.Add(u)
	}
	return total, nil
}
