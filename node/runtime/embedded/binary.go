package embedded

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	content, err := shimFiles.ReadFile("bin/" + shimName)
	if err != nil {
		return "", "", ErrNoShim
	}
	sum := sha256.Sum256(content)
	build = hex.EncodeToString(sum[:8])
	path = filepath.Join(dir, shimName+"-"+build)
	if unpacked(path, sum) {
		return path, build, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("unpack the container shim: %w", err)
	}
	removeOld(dir)
	// Another agent on the same data directory may do the same: write aside, then rename.
	tmp, err := os.CreateTemp(dir, ".shim-*")
	if err != nil {
		return "", "", fmt.Errorf("unpack the container shim: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Chmod(0o700), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return "", "", fmt.Errorf("unpack the container shim to %s: %w", path, err)
	}
	return path, build, nil
}

// unpacked reports whether path has the content of that hash: a crash may have left a torn file.
func unpacked(path string, sum [sha256.Size]byte) bool {
	have, err := os.ReadFile(path)
	return err == nil && sha256.Sum256(have) == sum
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
