// Package build makes images from directories, without a build tool: a layer per directory, reproducible
// as long as the directory is, on top of another image or of nothing.
package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

// A Spec is what an image's configuration says beside its layers. Empty fields keep the base's.
type Spec struct {
	Entrypoint []string
	Cmd        []string
	Env        []string // KEY=value; replaces a variable of the base
	WorkDir    string
	User       string
	Expose     []string // "80", "53/udp"
	Labels     map[string]string
	StopSignal string
}

// Owner says whom the files of a layer belong to.
type Owner int

// The ways to own.
const (
	RootOwned Owner = iota // all root's, as a COPY instruction does; file times are left out
	AsOnDisk               // as in the directory
)

// defaultPath is what container tools put into an image that says nothing.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Image puts layers on base (nil: on nothing) with the configuration spec.
func Image(base v1.Image, spec Spec, layers ...v1.Layer) (v1.Image, error) {
	img := base
	if img == nil {
		img = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	img, err := mutate.AppendLayers(img, layers...)
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	if err := spec.apply(&config.Config); err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, config)
}

func (s Spec) apply(c *v1.Config) error {
	if len(s.Entrypoint) > 0 {
		c.Entrypoint = s.Entrypoint
		c.Cmd = nil // the base's arguments were for the base's entry point
	}
	if len(s.Cmd) > 0 {
		c.Cmd = s.Cmd
	}
	for _, kv := range s.Env {
		key, _, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return fmt.Errorf("build image: environment %q: want KEY=VALUE", kv)
		}
		c.Env = append(slices.DeleteFunc(c.Env, func(old string) bool { return strings.HasPrefix(old, key+"=") }), kv)
	}
	if !slices.ContainsFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		c.Env = append([]string{defaultPath}, c.Env...)
	}
	for _, p := range s.Expose {
		if !strings.Contains(p, "/") {
			p += "/tcp"
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = map[string]struct{}{}
		}
		c.ExposedPorts[p] = struct{}{}
	}
	for k, v := range s.Labels {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[k] = v
	}
	for field, value := range map[*string]string{&c.WorkingDir: s.WorkDir, &c.User: s.User, &c.StopSignal: s.StopSignal} {
		if value != "" {
			*field = value
		}
	}
	return nil
}

// Layer packs a directory. file receives the compressed layer and must stay as long as the layer is used.
func Layer(dir, file string, owner Owner) (v1.Layer, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("build layer: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("build layer: %s is not a directory", dir)
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("build layer: %w", err)
	}
	defer f.Close()
	// The fast level: images are read once, from disk, more often than they travel.
	zw, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(Pack(zw, dir, owner), zw.Close(), f.Close()); err != nil {
		return nil, fmt.Errorf("build layer from %s: %w", dir, err)
	}
	return tarball.LayerFromFile(file, tarball.WithMediaType(types.OCILayer))
}

// Pack writes a directory as the tar stream of a layer: sorted, hard links and attributes kept.
func Pack(w io.Writer, dir string, owner Owner) error {
	p := &packer{tw: tar.NewWriter(w), owner: owner, links: map[[2]uint64]string{}}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		return p.add(path, rel)
	})
	return errors.Join(err, p.tw.Close())
}

type packer struct {
	tw    *tar.Writer
	owner Owner
	links map[[2]uint64]string // by device and inode
}

func (p *packer) add(path, rel string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil // exists only while its server runs
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name = rel
	if info.IsDir() {
		h.Name += "/"
	}
	h.Uname, h.Gname, h.AccessTime, h.ChangeTime = "", "", time.Time{}, time.Time{}
	if p.owner == RootOwned {
		h.Uid, h.Gid, h.ModTime = 0, 0, time.Unix(0, 0)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() && st.Nlink > 1 {
		key := [2]uint64{uint64(st.Dev), st.Ino}
		if first, ok := p.links[key]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		} else {
			p.links[key] = rel
		}
	}
	if err := capabilities(h, path); err != nil {
		return err
	}
	if err := p.tw.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(p.tw, f)
	return err
}

// capabilities keeps file capabilities, the one attribute that programs need to work (ping).
func capabilities(h *tar.Header, path string) error {
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	buf := make([]byte, 64)
	n, err := unix.Lgetxattr(path, "security.capability", buf)
	if err != nil {
		return nil // none, or a file system without attributes
	}
	h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": string(bytes.Clone(buf[:n]))}
	return nil
}
