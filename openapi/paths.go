package openapi

import (
	"encoding/json"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// pathsV2 writes the paths of version 2: a group version at a time, on all processors, so that of a thousand kinds little
// but text is there at any moment. It also returns the parameters that they share and the models that they refer to.
func (e *edition) pathsV2(models map[string]string) (paths, shared map[string]json.RawMessage, roots []string, err error) {
	var mu sync.Mutex
	common := sharing{names: map[string]string{}, texts: map[string]json.RawMessage{}}
	paths = map[string]json.RawMessage{}
	var writing errgroup.Group
	writing.SetLimit(runtime.GOMAXPROCS(0))
	write := func(each func(add func(operation))) {
		writing.Go(func() error {
			items, models := map[string]pathItem{}, []string(nil)
			each(func(o operation) {
				addPath(items, o, o.v2())
				models = append(models, o.body, o.response)
			})
			texts, err := common.write(items)
			mu.Lock()
			defer mu.Unlock()
			for path, text := range texts {
				paths[path] = text
			}
			roots = append(roots, models...)
			return err
		})
	}
	for gv := range e.groupVersions {
		write(func(add func(operation)) { e.eachOperation(gv, models, add) })
	}
	write(func(add func(operation)) {
		for _, path := range e.groups() {
			add(groupOperation(path))
		}
		for _, o := range aside() {
			add(o)
		}
	})
	err = writing.Wait()
	return paths, common.texts, roots, err
}

// A sharing gives names to the parameters of all paths that say the same everywhere, as version 2 can: the text of a
// list's would otherwise be there hundreds of times.
type sharing struct {
	mu    sync.Mutex
	names map[string]string // by what they say
	texts map[string]json.RawMessage
}

// write returns the items as text, with references to what is shared.
func (s *sharing) write(items map[string]pathItem) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(items))
	for path, item := range items {
		lift(item)
		for key, op := range item {
			if key == "parameters" {
				continue
			}
			if err := s.replace(op.(map[string]any)); err != nil {
				return nil, fmt.Errorf("parameters of %s: %w", path, err)
			}
		}
		if err := s.replace(item); err != nil {
			return nil, fmt.Errorf("parameters of %s: %w", path, err)
		}
		text, err := json.Marshal(item)
		if err != nil {
			return nil, fmt.Errorf("path %s: %w", path, err)
		}
		out[path] = text
	}
	return out, nil
}

func (s *sharing) replace(of map[string]any) error {
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
			return err
		}
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
