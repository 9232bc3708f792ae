package csi

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	utilstrings "k8s.io/utils/strings"
)

const (
	dataFile   = "vol_data.json"
	podPlugin  = "kubernetes.io~csi"
	deviceDirs = "plugins/kubernetes.io/csi/volumeDevices"
)

// maxData bounds a data file: larger than anything that was ever written into one.
const maxData = 64 << 10

// data is what a data file says. The names are upstream's: other versions, and drivers' tools, read them.
type data struct {
	Name       string `json:"specVolID,omitempty"`
	Handle     string `json:"volumeHandle"`
	Driver     string `json:"driverName"`
	Node       string `json:"nodeName,omitempty"`
	Attachment string `json:"attachmentID,omitempty"`
	Lifecycle  string `json:"volumeLifecycleMode,omitempty"`
}

// stageDir is where a volume is staged: once for all pods of the node.
func (p *Plugin) stageDir(v *Volume) string {
	if v.Block {
		return p.cfg.Dir.Join(deviceDirs, "staging", v.Name)
	}
	return p.cfg.Dir.Join("plugins", pluginName, v.Driver, fmt.Sprintf("%x", sha256.Sum256([]byte(v.Handle))), "globalmount")
}

// stageData is the directory of the data file of a staged volume.
func (p *Plugin) stageData(v *Volume) string {
	if v.Block {
		return p.cfg.Dir.Join(deviceDirs, utilstrings.EscapeQualifiedName(v.Name), "data")
	}
	return filepath.Dir(p.stageDir(v))
}

// Path returns where a pod finds the volume: a directory, or a device.
func (p *Plugin) Path(v *Volume, pod types.UID) string {
	if v.Block {
		return p.cfg.Dir.Join(deviceDirs, "publish", v.Name, string(pod))
	}
	return p.cfg.Dir.Join("pods", string(pod), "volumes", podPlugin, utilstrings.EscapeQualifiedName(v.Name), "mount")
}

// deviceLink is what tells that a pod uses a block volume.
func (p *Plugin) deviceLink(name string, pod types.UID) string {
	return p.cfg.Dir.Join("pods", string(pod), "volumeDevices", podPlugin, name)
}

// save writes a data file so that a crash leaves the old one or the new one.
func save(dir string, d data) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("create the directory of a volume's data: %w", err)
	}
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+dataFile)
	if err := os.WriteFile(tmp, append(b, '\n'), 0o644); err != nil {
		return errorf("failed to save volume data file %s: %w", filepath.Join(dir, dataFile), err)
	}
	return os.Rename(tmp, filepath.Join(dir, dataFile))
}

// load reads a data file.
func load(dir string) (data, error) {
	f, err := os.Open(filepath.Join(dir, dataFile))
	if err != nil {
		return data{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxData))
	if err != nil {
		return data{}, err
	}
	d, err := parseData(b)
	if err != nil {
		return data{}, errorf("failed to parse volume data file [%s]: %w", f.Name(), err)
	}
	return d, nil
}

// parseData reads what an agent, or a kubelet before it, has written.
func parseData(b []byte) (data, error) {
	var d data
	if err := json.Unmarshal(b, &d); err != nil {
		return data{}, err
	}
	if d.Driver == "" || d.Handle == "" {
		return data{}, errors.New("it names no driver or no volume")
	}
	if !isFileName(d.Driver) || (d.Name != "" && !isFileName(d.Name)) {
		return data{}, fmt.Errorf("%q and %q cannot be the names of a driver and a volume", d.Driver, d.Name)
	}
	return d, nil
}

// isFileName reports whether a name stays below the directory that it is joined to.
func isFileName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// removeMount removes where a volume was mounted, and what was written down beside it. The data goes last but
// for the directory, so that a crash in between is found again.
func removeMount(mount string) error {
	dir := filepath.Dir(mount)
	return remove(mount, filepath.Join(dir, "."+dataFile), filepath.Join(dir, dataFile), dir)
}

// remove removes files and empty directories, in this order. One with a mount on it is neither.
func remove(paths ...string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errorf("failed to remove [%s]: %w", path, err)
		}
	}
	return nil
}
