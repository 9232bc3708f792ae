package openapi

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/catalogue"
	"clipper/openapi/mergetype"
)

// The paths of custom kinds differ in names alone, and to write those of a kind takes as long as to write its schema. So they are
// written once for all kinds that the same can be done to, with places for the names.

// A shape is what the paths of custom kinds differ in, apart from names.
type shape struct {
	namespaced, status, scale bool
	described                 bool // its schemas are in the document
	verbs                     string
	article                   string
}

// A blueprint has the paths of all kinds of a shape.
type blueprint struct {
	paths      []pathBlueprint
	parameters part // shared ones that they refer to
}

type pathBlueprint struct{ path, text design }

// A design is a text with places for names: each piece but the first begins with the name that is before it.
type design []string

// What names are in blueprints: a rune that no name has, and what the name is.
const (
	place = "\ue000"

	groupPlace   = place + "g"
	versionPlace = place + "v"
	apiPlace     = place + "a"
	tagPlace     = place + "t"
	pluralPlace  = place + "p"
	kindPlace    = place + "k"
	listPlace    = place + "l"
	objectModel  = place + "o"
	listModel    = place + "m"
)

func newDesign(text string) design { return strings.Split(text, place) }

// with returns the text with names in their places.
func (d design) with(names *[256]string) []byte {
	size := len(d[0])
	for _, piece := range d[1:] {
		size += len(names[piece[0]]) + len(piece) - 1
	}
	out := append(make([]byte, 0, size), d[0]...)
	for _, piece := range d[1:] {
		out = append(append(out, names[piece[0]]...), piece[1:]...)
	}
	return out
}

// shape returns that of c's paths.
func (c custom) shape(described bool) shape {
	return shape{c.Namespaced, c.Status != nil, c.Scale != nil, described, strings.Join(c.Verbs, " "), article(c.Kind)}
}

// names are c's, by what their places are called.
func (c custom) names(models map[string]string) *[256]string {
	key := c.version.String() + "/"
	return &[256]string{
		'g': c.version.Group, 'v': c.version.Version, 'a': apiName(c.version.Group, c.version.Version), 't': tagOf(c.version.Group, c.version.Version),
		'p': c.Name, 'k': c.Kind, 'o': models[key+c.Kind], 'm': models[key+c.ListKind],
	}
}

// paths returns the paths of c. models are those that its operations are about.
func (v *v2Writer) paths(c custom, models map[string]string) (part, error) {
	names := c.names(models)
	if strings.HasPrefix(names['o'], sharedModels) { // then the shared parameters differ as well
		out, _, err := common.paths(operations(c.Resource, c.version.Group, c.version.Version, models))
		return out, err
	}
	of := c.shape(names['o'] != "")
	known, ok := v.blueprints.Load(of)
	if !ok {
		made, err := newBlueprint(c.Resource, of, models[scaleKind])
		if err != nil {
			return nil, err
		}
		known, _ = v.blueprints.LoadOrStore(of, made)
	}
	b := known.(*blueprint)
	out := make(part, 0, len(b.paths)+len(b.parameters))
	for _, p := range b.paths {
		out = append(out, entry{inPaths, string(p.path.with(names)), p.text.with(names)})
	}
	return append(out, b.parameters...), nil
}

// newBlueprint returns that of a shape, of which like is.
func newBlueprint(like *catalogue.Resource, of shape, scale string) (*blueprint, error) {
	r := &catalogue.Resource{
		Resource: api.Resource{Group: groupPlace, Version: versionPlace, Name: pluralPlace, Kind: kindPlace, Namespaced: of.namespaced},
		ListKind: listPlace, Verbs: like.Verbs, Status: like.Status, Scale: like.Scale, Custom: like.Custom,
	}
	models := map[string]string{scaleKind: scale}
	if of.described {
		gv := schema.GroupVersion{Group: groupPlace, Version: versionPlace}
		models[mergetype.KindKey(gv.WithKind(kindPlace))] = objectModel
		models[mergetype.KindKey(gv.WithKind(listPlace))] = listModel
	}
	b := opBuilder{
		r: r, group: groupPlace, version: versionPlace, models: models, base: basePath(groupPlace, versionPlace),
		api: apiPlace, tag: tagPlace, article: of.article,
	}
	paths, _, err := common.paths(b.operations())
	if err != nil {
		return nil, err
	}
	out := &blueprint{}
	for _, e := range paths {
		if e.section == inPaths {
			out.paths = append(out.paths, pathBlueprint{newDesign(e.name), newDesign(string(e.text))})
		} else {
			out.parameters = append(out.parameters, e)
		}
	}
	return out, nil
}
