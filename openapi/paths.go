package openapi

import (
	"encoding/json"
	"fmt"
	"sync"
)

// A sharing gives names to the parameters of all paths that say the same everywhere, as version 2 can: the text of a
// list's would otherwise be there hundreds of times.
type sharing struct {
	mu    sync.Mutex
	names map[string]string // by what they say
	texts map[string]json.RawMessage
}

// common are those of all documents. They say what upstream's options do, so that there are few of them.
var common = sharing{names: map[string]string{}, texts: map[string]json.RawMessage{}}

// paths writes operations, with references to the parameters that are shared. It also returns the models that they are
// about.
func (s *sharing) paths(operations []operation) (out part, models []string, err error) {
	items, used := map[string]pathItem{}, map[string]bool{}
	for _, o := range operations {
		addPath(items, o, o.v2())
		models = append(models, o.body, o.response)
	}
	for path, item := range items {
		text, err := s.item(item, used)
		if err != nil {
			return nil, nil, fmt.Errorf("path %s: %w", path, err)
		}
		out = append(out, entry{inPaths, path, text})
	}
	for name := range used {
		out = append(out, entry{section: inParameters, name: name})
	}
	return out, models, nil
}

// item writes one path, and notes which parameters it uses.
func (s *sharing) item(item pathItem, used map[string]bool) ([]byte, error) {
	lift(item)
	for key, op := range item {
		if key == "parameters" {
			continue
		}
		if err := s.replace(op.(map[string]any), used); err != nil {
			return nil, err
		}
	}
	if err := s.replace(item, used); err != nil {
		return nil, err
	}
	return json.Marshal(item)
}

func (s *sharing) replace(of map[string]any, used map[string]bool) error {
	parameters := parametersIn(of)
	if parameters == nil {
		return nil
	}
	out := make([]any, len(parameters))
	for i, p := range parameters {
		out[i] = p
		if !isShared(p) {
			continue
		}
		name, err := s.name(p)
		if err != nil {
			return fmt.Errorf("parameter %v: %w", p["name"], err)
		}
		used[name] = true
		out[i] = map[string]string{"$ref": "#/parameters/" + name}
	}
	of["parameters"] = out
	return nil
}

// name is that of a shared parameter.
func (s *sharing) name(p map[string]any) (string, error) {
	key := fmt.Sprint(p["in"], p["name"], p["description"], p["schema"])
	s.mu.Lock()
	defer s.mu.Unlock()
	if name := s.names[key]; name != "" {
		return name, nil
	}
	text, err := canonical(p)
	if err != nil {
		return "", err
	}
	name := p["name"].(string) + "-" + shortHash(text)
	s.names[key], s.texts[name] = name, text
	return name, nil
}

// describe gives entries that only name a parameter its text.
func (s *sharing) describe(entries []entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := range entries {
		if len(e.text) == 0 {
			entries[i].text = s.texts[e.name]
		}
	}
}
