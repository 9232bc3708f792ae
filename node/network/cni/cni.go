// Package cni makes the node's own network one that container runtimes know how to use: a CNI plug-in. Runtimes
// other than the built-in one attach sandboxes themselves, by programs in a folder that a configuration names.
//
// The program is this one, under another name (PluginName, by a symbolic link that Install makes). It decides
// nothing: it hands what the runtime asks over to the node agent, on a socket, and the answer back. The agent
// attaches the network namespace, which the runtime has made, as it does that of a sandbox of its own.
package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// PluginName is the name by which this program is the plug-in. Called loopbackName it is the one that brings up a
// namespace's loopback device, which old runtimes look for.
const (
	PluginName   = "clipper-cni"
	loopbackName = "loopback"
)

// specVersion is that of the configuration that Install writes.
const specVersion = "1.0.0"

// A pluginConfig is what the plug-in is told: the network's configuration, which Install writes, with what the
// runtime adds for a sandbox.
type pluginConfig struct {
	CNIVersion   string          `json:"cniVersion,omitempty"`
	Name         string          `json:"name,omitempty"`
	Type         string          `json:"type"`
	Socket       string          `json:"socket,omitempty"`
	Capabilities map[string]bool `json:"capabilities,omitempty"`
	Runtime      struct {
		PortMappings []portMapping `json:"portMappings,omitempty"`
	} `json:"runtimeConfig,omitzero"`
}

// A portMapping is a port of the node that leads to the sandbox, as runtimes tell it.
type portMapping struct {
	HostPort      uint16 `json:"hostPort"`
	ContainerPort uint16 `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// Install puts what a runtime needs below dir: bin, to be its folder of plug-ins, and net.d, with the configuration
// that leads to the agent's socket.
func Install(dir, socket string) error {
	bin, conf := filepath.Join(dir, "bin"), filepath.Join(dir, "net.d")
	for _, d := range []string{bin, conf} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("install the CNI plug-in: %w", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("install the CNI plug-in: %w", err)
	}
	for _, name := range []string{PluginName, loopbackName} {
		if err := link(self, filepath.Join(bin, name)); err != nil {
			return fmt.Errorf("install the CNI plug-in: %w", err)
		}
	}
	list, err := json.MarshalIndent(map[string]any{
		"cniVersion": specVersion, "name": "clipper",
		"plugins": []pluginConfig{{Type: PluginName, Socket: socket, Capabilities: map[string]bool{"portMappings": true}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	return replace(filepath.Join(conf, "10-clipper.conflist"), func(tmp string) error { return os.WriteFile(tmp, list, 0o644) })
}

// link makes path a symbolic link to target.
func link(target, path string) error {
	if now, err := os.Readlink(path); err == nil && now == target {
		return nil
	}
	return replace(path, func(tmp string) error { return os.Symlink(target, tmp) })
}

// replace makes a file aside and puts it in its place: the runtime may be reading the one there is.
func replace(path string, make func(tmp string) error) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := make(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
