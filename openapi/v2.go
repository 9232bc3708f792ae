package openapi

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/catalogue"
	"clipper/openapi/mergetype"
)

// A v2Writer writes the document of version 2 of an edition.
type v2Writer struct {
	*edition
	own *ownPart
	// schemas opens those of the server's own kinds, which takes longer than to join parts.
	schemas func() (schemas, error)
	// forms are what JSON becomes protobuf by.
	forms      func() *forms
	blueprints sync.Map // shape → *blueprint
}

func newV2Writer(e *edition, own *ownPart) *v2Writer {
	return &v2Writer{edition: e, own: own, forms: sync.OnceValue(newForms), schemas: sync.OnceValues(func() (schemas, error) {
		var all schemas
		err := unpack(packedV2, &all)
		if err == nil {
			all[patchModel] = patchSchema
		}
		return all, err
	})}
}

// write writes the document.
func (v *v2Writer) write(w io.Writer, media string) error {
	parts, err := v.parts(media)
	if err != nil {
		return err
	}
	foreign, err := v.foreignPart(media, parts)
	if err != nil {
		return err
	}
	all := join(slices.Concat([]part{foreign}, parts)) // it also has what is said in another way because of it
	common.describe(all[inParameters])
	if media == mediaJSON {
		return all.writeJSON(w)
	}
	return all.writeProtobuf(w)
}

// parts returns the parts of all kinds that this server serves.
func (v *v2Writer) parts(media string) ([]part, error) {
	parts, err := v.customParts(media)
	if err != nil {
		return nil, err
	}
	own, err := v.ownPart(media, join(parts)[asReferences])
	return append(parts, own), err
}

// customParts returns the parts of all custom kinds.
func (v *v2Writer) customParts(media string) ([]part, error) {
	kinds := customOf(v.resources, everything)
	parts := make([]part, len(kinds))
	var making errgroup.Group // of hundreds of kinds, they take most of the time
	making.SetLimit(runtime.GOMAXPROCS(0))
	for i, c := range kinds {
		making.Go(func() error {
			data, err := v.kept(c, media)
			if err == nil {
				parts[i], err = decodePart(data)
			}
			if err != nil {
				return fmt.Errorf("OpenAPI of %s in version %s: %w", c.GroupResource(), c.version.Version, err)
			}
			return nil
		})
	}
	return parts, making.Wait()
}

// kept returns the part of a custom kind, encoded.
func (v *v2Writer) kept(c custom, media string) ([]byte, error) {
	return c.Custom.Keep("version 2 in "+media, func() ([]byte, error) {
		if media == mediaJSON {
			p, err := v.customPart(c)
			return p.encode(), err
		}
		data, err := v.kept(c, mediaJSON)
		if err != nil {
			return nil, err
		}
		return inProtobuf(data, v.forms())
	})
}

// customPart makes the part of a custom kind. Where its schema cannot be written, its paths are there nevertheless.
func (v *v2Writer) customPart(c custom) (out part, err error) {
	kinds, err := kindModels()
	if err != nil {
		return nil, err
	}
	models := map[string]string{scaleKind: kinds[scaleKind]}
	out, err = c.definitions(catalogue.OpenAPI2, definitionRefs, v.free)
	c.report(err)
	c.nameModels(models, out)
	paths, err := v.paths(c, models)
	if err != nil {
		return nil, err
	}
	return append(out, paths...).withReferences(), nil
}

// free returns the name that a model of a custom kind gets beside those of the server's own kinds.
func (v *v2Writer) free(model string) (string, error) {
	if !strings.HasPrefix(model, ownModels) {
		return model, nil
	}
	own, err := v.schemas()
	if err != nil || own[model] == nil {
		return model, err
	}
	for i := 2; ; i++ {
		if other := fmt.Sprintf("%s_v%d", model, i); own[other] == nil {
			return other, nil
		}
	}
}

// scaleKind is the only kind of the server's own that custom ones have operations on.
var scaleKind = mergetype.KindKey(schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"})

// ownModels begins the names of all models that are the server's own.
const ownModels = "io.k8s."
