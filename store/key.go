package store

import (
	"fmt"
	"strings"

	"clipper/api"
)

// DefaultRoot begins the keys of every log unless the options say otherwise. Upstream's.
const DefaultRoot = "/registry/"

// Path returns k's place in a log with the usual root: /registry/<resource>/<namespace>/<name>.
func (k Key) Path() string { return k.below(DefaultRoot) }

func (k Key) below(root string) string {
	if k.Namespace == "" {
		return root + k.Resource + "/" + k.Name
	}
	return root + k.Resource + "/" + k.Namespace + "/" + k.Name
}

// path returns k's place in the store's log.
func (s *Store) path(k Key) string { return k.below(s.options.Root) }

// parsePath is the reverse of Key.below. Resource prefixes are one element ("pods"), unless known has a
// longer one or the first element is an API group, which has a dot ("stable.example.com/crontabs").
func parsePath(path, root string, known map[string]api.Resource) (Key, error) {
	rest, ok := strings.CutPrefix(path, root)
	if !ok {
		return Key{}, fmt.Errorf("key %s: not below %s", path, root)
	}
	parts := strings.Split(rest, "/")
	n := 1
	if len(parts) > 2 {
		two := parts[0] + "/" + parts[1]
		if _, ok := known[two]; ok || strings.Contains(parts[0], ".") {
			n = 2
		}
	}
	k := Key{Resource: strings.Join(parts[:n], "/")}
	switch parts = parts[n:]; len(parts) {
	case 1:
		k.Name = parts[0]
	case 2:
		k.Namespace, k.Name = parts[0], parts[1]
	default:
		return Key{}, fmt.Errorf("key %s: not of the form %s<resource>/[<namespace>/]<name>", path, root)
	}
	if k.Resource == "" || k.Name == "" {
		return Key{}, fmt.Errorf("key %s: an element is empty", path)
	}
	return k, nil
}

// keyAt is the key at a path of a log that others write to; an error if it is none that s keeps.
func (s *Store) keyAt(path string) (Key, error) {
	k, err := parsePath(path, s.options.Root, s.options.Resources)
	if keeps := s.options.Keeps; err == nil && keeps != nil && !keeps(k.Resource) {
		return Key{}, fmt.Errorf("key %s: kept in another log", path)
	}
	return k, err
}

// check refuses a key that would not come back from the log as itself.
func (k Key) check(known map[string]api.Resource) error {
	back, err := parsePath(k.Path(), DefaultRoot, known)
	if err != nil {
		return err
	}
	if back != k {
		return fmt.Errorf("key %s: resource %q, namespace %q and name %q cannot be told apart in it", k.Path(), k.Resource, k.Namespace, k.Name)
	}
	return nil
}
