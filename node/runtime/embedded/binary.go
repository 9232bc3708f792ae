package embedded

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// shimFiles holds the built shim, or nothing but the folder's .gitignore.
//
//go:embed all:bin
var shimFiles embed.FS

const shimName = "clipper-shim"

// ErrNoShim says that this binary was built without the shim.
var ErrNoShim = errors.New("this clipper binary has no container shim in it; build it with `make build`")

// unpackShim writes the embedded shim to dir under a name that tells its content, and removes other versions
// that are not running. It returns its path and content hash.
func unpackShim(dir string) (path, build string, err error) {
	if build, err = embeddedBuild(); err != nil {
		return "", "", err
	}
	path = filepath.Join(dir, shimName+"-"+build)
	// A crash may have left a torn file: look at its content, not its name.
	if have, err := hashFile(os.DirFS(dir), filepath.Base(path)); err == nil && have == build {
		return path, build, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("unpack the container shim: %w", err)
	}
	removeOld(dir)
	if err := writeShim(dir, path); err != nil {
		return "", "", fmt.Errorf("unpack the container shim to %s: %w", path, err)
	}
	return path, build, nil
}

// writeShim writes aside, then renames: another agent on the same data directory may do the same.
func writeShim(dir, path string) error {
	from, err := shimFiles.Open("bin/" + shimName)
	if err != nil {
		return err
	}
	defer from.Close()
	tmp, err := os.CreateTemp(dir, ".shim-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = io.Copy(tmp, from)
	// Executable for all: it is also the init of shared PID namespaces, as nobody.
	if err = errors.Join(err, tmp.Chmod(0o755), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// embeddedBuild returns the content hash of the shim in this program.
var embeddedBuild = sync.OnceValues(func() (string, error) {
	build, err := hashFile(shimFiles, "bin/"+shimName)
	if err != nil {
		return "", ErrNoShim
	}
	return build, nil
})

// hashFile reads in pieces: the shim is never in our heap as a whole.
func hashFile(in fs.FS, name string) (string, error) {
	f, err := in.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	const enough = 8 // bytes, to tell builds apart
	return hex.EncodeToString(h.Sum(nil)[:enough]), nil
}

// removeOld removes what earlier versions have unpacked. A running program's file lives on until it ends.
func removeOld(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), shimName+"-") || strings.HasPrefix(e.Name(), ".shim-") {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
