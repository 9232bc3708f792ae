// Package config reads --admission-control-config-file: an AdmissionConfiguration that holds, or names files with, the
// configurations of plug-ins.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"sigs.k8s.io/yaml"
)

// A File is what was read. A nil File configures nothing.
type File struct {
	path    string
	plugins []apiserver.AdmissionPluginConfiguration
}

// Read reads the file; "" is none.
func Read(path string) (*File, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("unable to read admission control configuration from %q [%w]", path, err)
	}
	f := &File{path: path}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	obj, err := runtime.Decode(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), data)
	if err != nil {
		if f.plugins = older(path, data, err); f.plugins == nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return f, nil
	}
	c, ok := obj.(*apiserver.AdmissionConfiguration)
	if !ok {
		return nil, fmt.Errorf("%s: unexpected type: %T; give an AdmissionConfiguration", path, obj)
	}
	f.plugins = c.Plugins
	return f, nil
}

// older reads what has no kind: once the file was the configuration of these two plug-ins itself.
func older(path string, data []byte, err error) []apiserver.AdmissionPluginConfiguration {
	content := map[string]any{}
	unknown := runtime.IsMissingVersion(err) || runtime.IsMissingKind(err) || runtime.IsNotRegisteredError(err)
	if !unknown || yaml.Unmarshal(data, &content) != nil {
		return nil
	}
	_, images := content["imagePolicy"]
	_, selectors := content["podNodeSelectorPluginConfig"]
	if !images && !selectors {
		return nil
	}
	return []apiserver.AdmissionPluginConfiguration{{Name: "ImagePolicyWebhook", Path: filepath.Base(path)}, {Name: "PodNodeSelector", Path: filepath.Base(path)}}
}

// For returns the configuration of a plug-in; nil if it has none. Paths are relative to the file's folder.
func (f *File) For(plugin string) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
	for _, p := range f.plugins {
		switch {
		case p.Name != plugin:
			continue
		case p.Configuration != nil:
			return p.Configuration.Raw, nil
		case p.Path == "":
			return nil, nil
		case !filepath.IsAbs(p.Path):
			p.Path = filepath.Join(filepath.Dir(f.path), p.Path)
		}
		data, err := os.ReadFile(p.Path)
		if err != nil {
			return nil, fmt.Errorf("%s: configuration of plug-in %s: %w", f.path, plugin, err)
		}
		return data, nil
	}
	return nil, nil
}

// ErrNone refuses a configuration that the plug-in cannot have.
var ErrNone = errors.New("it takes no configuration here; remove it from the file")

// Decode reads JSON or YAML into an object of one kind.
func Decode(raw []byte, kind schema.GroupVersionKind, into runtime.Object) error {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(kind, into)
	return runtime.DecodeInto(serializer.NewCodecFactory(scheme).UniversalDeserializer(), raw, into)
}
