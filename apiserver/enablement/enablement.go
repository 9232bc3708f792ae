// Package enablement is about --runtime-config: which of the built-in group versions and resources are offered to
// clients. What is withheld from them goes on inside the server as before.
package enablement

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/catalogue"
)

// A class is a set of versions that the flag can name, in the order in which they count.
var classes = []struct {
	key     string
	version *regexp.Regexp
	offered bool // there are such versions here, and all are on
}{
	{"api/all", regexp.MustCompile(``), false},
	{"api/ga", regexp.MustCompile(`^v\d+$`), true},
	{"api/beta", regexp.MustCompile(`^v\d+beta\d+$`), false},
	{"api/alpha", regexp.MustCompile(`^v\d+alpha\d+$`), false},
}

// Apply returns the resources with those withheld that config switches off. What it switches on must be here.
func Apply(resources []*catalogue.Resource, config map[string]string) ([]*catalogue.Resource, error) {
	if len(config) == 0 {
		return resources, nil
	}
	p := &preferences{versions: map[schema.GroupVersion]bool{}, resources: map[schema.GroupVersionResource]bool{}}
	if err := p.read(config, offered(resources)); err != nil {
		return nil, err
	}
	out := make([]*catalogue.Resource, len(resources))
	for i, r := range resources {
		c := *r
		c.Withheld = p.off(r.GVR())
		c.Also = slices.Clone(r.Also)
		for j := range c.Also {
			c.Also[j].Withheld = p.off(alsoGVR(r, &r.Also[j]))
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
	}
	return out
}

// preferences are what config says: a resource's before its version's, a version's before a class's.
type preferences struct {
	classes   []*regexp.Regexp // that are off
	versions  map[schema.GroupVersion]bool
	resources map[schema.GroupVersionResource]bool
}

func (p *preferences) off(gvr schema.GroupVersionResource) bool {
	if on, ok := p.resources[gvr]; ok {
		return !on
	}
	if on, ok := p.versions[gvr.GroupVersion()]; ok {
		return !on
	}
	return slices.ContainsFunc(p.classes, func(c *regexp.Regexp) bool { return c.MatchString(gvr.Version) })
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
		case value == "false":
			p.classes = append(p.classes, c.version)
		case value != "true":
			return fmt.Errorf("invalid value %s=%s", c.key, value)
		case c.offered:
			p.classes = nil // the class that counts later wins, and all versions here are of it
		default:
			return fmt.Errorf("%s=true: alpha and beta versions are not supported here; the GA versions are on without it", c.key)
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
