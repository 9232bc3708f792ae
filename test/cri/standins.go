package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// A standIn is an image that critest pulls: a base, changed in its user, or by files, or so that it is another
// image than the rest.
type standIn struct {
	base    string
	names   []string
	user    string
	command []string
	files   map[string]string
	marked  bool // by its first name
	// applets are commands for which the base has a link to busybox or none, and critest wants a file.
	applets []string
}

const (
	tools = "k8s-staging-cri-tools/"
	e2e   = "e2e-test-images/"
)

// What the busybox at hand may lack.
const (
	pgrep = `#!/bin/sh
for p in /proc/[0-9]*; do
	test "$(cat $p/comm 2>/dev/null)" != "$1" || echo ${p#/proc/}
done
`
	ipcs = `#!/bin/sh
tail -n +2 /proc/sysvipc/shm | while read key id rest; do printf '0x%08x %s\n' $key $id; done
`
)

var standIns = []standIn{
	{base: "busybox", names: []string{e2e + "busybox:1.29-2"}, applets: []string{"ls"}, files: map[string]string{"usr/bin/pgrep": pgrep, "usr/bin/ipcs": ipcs}},
	{base: "nginx", names: []string{e2e + "nginx:1.14-2"}},
	{base: "nginx", names: []string{e2e + "httpd:2.4.39-4"}, command: []string{"sh", "-c", "echo this is no httpd; exec nginx -g 'daemon off;'"}},
	{base: "nonewprivs", names: []string{e2e + "nonewprivs:1.3"}},
	{base: "busybox", names: []string{"pause:3.9"}, marked: true},
	{base: "busybox", names: []string{tools + "test-image-latest:latest"}, marked: true},
	{base: "busybox", names: []string{tools + "test-image-tag:test"}, marked: true},
	{base: "busybox", names: []string{tools + "test-image-tag:all"}, marked: true},
	{base: "busybox", names: []string{tools + "test-image-1:latest"}, marked: true},
	{base: "busybox", names: []string{tools + "test-image-2:latest"}, marked: true},
	{base: "busybox", names: []string{tools + "test-image-3:latest"}, marked: true},
	{base: "busybox", names: []string{tools + "test-image-tags:1", tools + "test-image-tags:2", tools + "test-image-tags:3"}, marked: true},
	{base: "busybox", names: []string{tools + "test-image-user-uid:latest"}, user: "1002"},
	{base: "busybox", names: []string{tools + "test-image-user-username:latest"}, user: "www-data"},
	{base: "busybox", names: []string{tools + "test-image-user-uid-group:latest"}, user: "1003:users"},
	{base: "busybox", names: []string{tools + "test-image-user-username-group:latest"}, user: "www-data:100"},
	{base: "busybox", names: []string{tools + "test-image-predefined-group:latest"}, user: "1000", files: map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/home/default-user:/bin/sh\n",
		"etc/group":  "root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n",
	}},
	{base: "nginx", names: []string{tools + "hostnet-nginx-" + runtime.GOARCH + ":latest"}, files: map[string]string{
		"etc/nginx/nginx.conf": `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 1024; }
http {
	access_log /dev/stdout;
	server {
		listen 12003;
		root /usr/share/nginx/html;
	}
}
`}},
}

// fill pushes all stand-ins to the registry at address.
func fill(ctx context.Context, address string, bases map[string]v1.Image) error {
	for _, s := range standIns {
		img, err := s.build(bases[s.base])
		if err != nil {
			return fmt.Errorf("%s: %w", s.names[0], err)
		}
		for _, n := range s.names {
			ref, err := name.ParseReference(address + "/" + n)
			if err != nil {
				return err
			}
			if err := remote.Write(ref, img, remote.WithContext(ctx)); err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
		}
	}
	return nil
}

func (s *standIn) build(base v1.Image) (v1.Image, error) {
	files, err := s.content(base)
	if err != nil {
		return nil, err
	}
	img := base
	if len(files) > 0 {
		layer, err := layerOf(files)
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	changed := config.DeepCopy()
	if s.user != "" {
		changed.Config.User = s.user
	}
	if s.command != nil {
		changed.Config.Entrypoint, changed.Config.Cmd = s.command, nil
	}
	return mutate.ConfigFile(img, changed)
}

// content is what the stand-in adds to its base.
func (s *standIn) content(base v1.Image) (map[string]string, error) {
	files := maps.Clone(s.files)
	if files == nil {
		files = map[string]string{}
	}
	if s.marked {
		files["etc/stand-in"] = s.names[0]
	}
	if len(s.applets) == 0 {
		return files, nil
	}
	busybox, err := fileOf(base, "usr/bin/busybox")
	if err != nil {
		return nil, err
	}
	for _, a := range s.applets {
		files["usr/bin/"+a] = busybox
	}
	return files, nil
}

// fileOf reads a file of an image.
func fileOf(img v1.Image, path string) (string, error) {
	all := mutate.Extract(img)
	defer all.Close()
	for r := tar.NewReader(all); ; {
		h, err := r.Next()
		if err != nil {
			return "", fmt.Errorf("look for %s: %w", path, err)
		}
		if strings.TrimPrefix(h.Name, "./") == path {
			content, err := io.ReadAll(r)
			return string(content), err
		}
	}
}

// layerOf makes a layer of files.
func layerOf(files map[string]string) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for path, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: mode(path), Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
}

func mode(path string) int64 {
	if strings.HasPrefix(path, "usr/bin/") {
		return 0o755
	}
	return 0o644
}
