package openapi

import (
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/s2"
	"golang.org/x/sync/errgroup"

	"clipper/catalogue"
)

// An ownPart keeps the part of the server's own kinds, which do not change while it runs: with custom kinds, the
// document does.
type ownPart struct {
	from   string            // what it was made from
	packed map[string][]byte // by media type
}

// ownPart returns the part of the server's own kinds. Others refer to models of theirs.
func (v *v2Writer) ownPart(media string, others []entry) (part, error) {
	if len(others) == 0 {
		data, err := v.makeOwn(media, nil)
		if err != nil {
			return nil, err
		}
		return decodePart(data)
	}
	names := make([]string, len(others))
	for i, e := range others {
		names[i] = e.name
	}
	mine := slices.DeleteFunc(slices.Clone(v.resources), func(r *catalogue.Resource) bool { return r.Custom != nil })
	if from := hashOf(mine) + strings.Join(names, " "); v.own.from != from {
		*v.own = ownPart{from: from, packed: map[string][]byte{}}
	}
	if v.own.packed[media] == nil {
		data, err := v.makeOwn(media, names)
		if err != nil {
			return nil, err
		}
		v.own.packed[media] = s2.Encode(nil, data)
	}
	data, err := s2.Decode(nil, v.own.packed[media])
	if err != nil {
		return nil, err
	}
	return decodePart(data)
}

// makeOwn makes the part, encoded. roots are models that it has in any case.
func (v *v2Writer) makeOwn(media string, roots []string) ([]byte, error) {
	all, err := v.schemas()
	if err != nil {
		return nil, err
	}
	out, models, err := v.ownPaths()
	if err != nil {
		return nil, err
	}
	for name, text := range all.closure(append(models, roots...)) {
		out = append(out, entry{inDefinitions, name, text})
	}
	data := out.encode()
	if media == mediaJSON {
		return data, nil
	}
	return inProtobuf(data, v.forms())
}

// ownPaths writes the paths of the server's own kinds, and those that are about no kind: a group version at a time, on
// all processors.
func (v *v2Writer) ownPaths() (out part, models []string, err error) {
	kinds, err := kindModels()
	if err != nil {
		return nil, nil, err
	}
	var rest []operation
	for _, path := range v.groups() {
		rest = append(rest, groupOperation(path))
	}
	for _, o := range aside() {
		rest = append(rest, o)
	}
	out, models, err = common.paths(rest)
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	var writing errgroup.Group
	writing.SetLimit(runtime.GOMAXPROCS(0))
	for gv := range v.groupVersions {
		if v.isCustom(gv) {
			continue
		}
		writing.Go(func() error {
			var operations []operation
			v.eachOperation(gv, kinds, func(o operation) { operations = append(operations, o) })
			paths, about, err := common.paths(operations)
			mu.Lock()
			defer mu.Unlock()
			out, models = append(out, paths...), append(models, about...)
			return err
		})
	}
	err = writing.Wait()
	return out, models, err
}
