// Package enablement is about --runtime-config: which of the built-in group versions and resources are offered to
// clients. What is withheld from them goes on inside the server as before; versions that are off by default are forms of
// what there is anyway (package catalogue/preview).
package enablement

import (
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/catalogue"
	"clipper/catalogue/preview"
)

// A class is a set of versions that the flag can name.
type class struct {
	key     string
	version *regexp.Regexp
}

// classes are in the order in which they count: what a later one says takes the place of what an earlier one said.
var classes = []class{
	{"api/all", regexp.MustCompile(``)},
	{"api/ga", regexp.MustCompile(`^v\d+$`)},
	{"api/beta", regexp.MustCompile(`^v\d+beta\d+$`)},
	{"api/alpha", regexp.MustCompile(`^v\d+alpha\d+$`)},
}

// Apply returns the resources with those withheld that config switches off, and in the versions beside that it switches
// on. What it names must be here; of a class of versions what is here is switched on.
func Apply(resources []*catalogue.Resource, config map[string]string) ([]*catalogue.Resource, error) {
	if len(config) == 0 {
		return resources, nil
	}
	p := &preferences{versions: map[schema.GroupVersion]bool{}, resources: map[schema.GroupVersionResource]bool{}}
	if err := p.read(config, offered(resources)); err != nil {
		return nil, err
	}
	p.tellAbsent()
	out := make([]*catalogue.Resource, len(resources))
	for i, r := range resources {
		c := *r
		c.Withheld = p.off(r.GVR())
		c.Also = slices.Clone(r.Also)
		for j := range c.Also {
			c.Also[j].Withheld = p.off(alsoGVR(r, &r.Also[j]))
		}
		for _, v := range preview.Of(r) {
			if p.says(alsoGVR(r, &v), false) {
				c.Also = append(c.Also, v)
			}
		}
		out[i] = &c
	}
	return out, nil
}

func alsoGVR(r *catalogue.Resource, v *catalogue.Version) schema.GroupVersionResource {
	gvr := schema.GroupVersionResource{Group: r.Group, Version: v.Version, Resource: r.Name}
	if v.Group != "" {
		gvr.Group = v.Group
	}
	return gvr
}

// offered are all resources by their group and version.
func offered(resources []*catalogue.Resource) map[schema.GroupVersionResource]bool {
	out := map[schema.GroupVersionResource]bool{}
	for _, r := range resources {
		out[r.GVR()] = true
		for i := range r.Also {
			out[alsoGVR(r, &r.Also[i])] = true
		}
		for _, v := range preview.Of(r) {
			out[alsoGVR(r, &v)] = true
		}
	}
	return out
}

// preferences are what config says: a resource's before its version's, a version's before a class's.
type preferences struct {
	classes   []said // the later ones count
	versions  map[schema.GroupVersion]bool
	resources map[schema.GroupVersionResource]bool
}

// said is what the flag says of a class.
type said struct {
	version *regexp.Regexp
	on      bool
}

func (p *preferences) off(gvr schema.GroupVersionResource) bool { return !p.says(gvr, true) }

// says is whether a resource is on, which it is by default or not.
func (p *preferences) says(gvr schema.GroupVersionResource, byDefault bool) bool {
	if on, ok := p.resources[gvr]; ok {
		return on
	}
	if on, ok := p.versions[gvr.GroupVersion()]; ok {
		return on
	}
	for _, c := range slices.Backward(p.classes) {
		if c.version.MatchString(gvr.Version) {
			return c.on
		}
	}
	return byDefault
}

// tellAbsent warns of what upstream's server would offer by the classes that are on, and this one has not.
func (p *preferences) tellAbsent() {
	for _, gv := range slices.SortedFunc(maps.Keys(preview.Absent), func(a, b schema.GroupVersion) int { return strings.Compare(a.String(), b.String()) }) {
		for _, name := range preview.Absent[gv] {
			if p.says(gv.WithResource(name), false) {
				slog.Warn("--runtime-config asks for a resource that is not here", "version", gv.String(), "resource", name)
			}
		}
	}
}

func (p *preferences) read(config map[string]string, there map[schema.GroupVersionResource]bool) error {
	if len(config) == 1 && config["api/all"] == "false" {
		return fmt.Errorf("invalid runtime-config with only api/all=false")
	}
	named := maps.Clone(config)
	for _, c := range classes {
		value, ok := named[c.key]
		delete(named, c.key)
		switch {
		case !ok:
		case value != "false" && value != "true":
			return fmt.Errorf("invalid value %s=%s", c.key, value)
		default:
			p.classes = append(p.classes, said{c.version, value == "true"})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(named)) {
		if err := p.one(key, named[key], there); err != nil {
			return err
		}
	}
	return nil
}

// one reads group/version=value or group/version/resource=value.
func (p *preferences) one(key, value string, there map[schema.GroupVersionResource]bool) error {
	parts := strings.Split(key, "/")
	if len(parts) != 2 && len(parts) != 3 {
		return fmt.Errorf("runtime-config invalid key %s", key)
	}
	gv := schema.GroupVersion{Group: parts[0], Version: parts[1]}
	if gv.Group == "api" && gv.Version == "v1" { // the core group's path
		gv.Group = ""
	}
	known, here := scheme.Scheme.IsGroupRegistered(gv.Group), false
	for gvr := range there {
		known = known || gvr.Group == gv.Group
		here = here || gvr.GroupVersion() == gv && (len(parts) == 2 || gvr.Resource == parts[2])
	}
	on, err := strconv.ParseBool(value)
	if value == "" {
		on, err = true, nil
	}
	switch {
	case !known:
		return fmt.Errorf("unknown api groups %s", gv)
	case err != nil:
		return fmt.Errorf("invalid value of %s: %s, err: %w", key, value, err)
	case len(parts) == 3 && parts[2] != strings.ToLower(parts[2]):
		return fmt.Errorf("invalid key %v: group/version/resource and resource is always lowercase plural, not %q", key, parts[2])
	case on && !here && len(parts) == 2 && !scheme.Scheme.IsVersionRegistered(gv):
		return fmt.Errorf("group version %s that has not been registered", gv)
	case on && !here:
		return fmt.Errorf("%s=true: not supported here", key)
	case len(parts) == 3:
		p.resources[gv.WithResource(parts[2])] = on
	default:
		p.versions[gv] = on
	}
	return nil
}
