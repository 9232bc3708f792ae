package pull

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubelet/config/v1beta1"

	"clipper/node/kubeletconfig"
	"clipper/node/runtime"
)

// history remembers pulls in files, in a kubelet's form: pulling/ has an ImagePullIntent for each image that is
// being pulled, pulled/ an ImagePulledRecord for each that was, with the logins that were good for it. An image
// that neither knows was put on the node by hand. A file is replaced as a whole; one that a power loss has
// spoilt makes the registry be asked again.
type history struct {
	pulling, pulledDir string

	mu      sync.Mutex
	intents map[string]int // pulls under way, by image
	pruned  time.Time
}

func openHistory(dir string) (*history, error) {
	h := &history{pulling: filepath.Join(dir, "pulling"), pulledDir: filepath.Join(dir, "pulled"), intents: map[string]int{}}
	for _, d := range []string{h.pulling, h.pulledDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("records of image pulls: %w", err)
		}
	}
	return h, nil
}

// recover turns intents that an earlier agent left into records without logins, if the image did arrive.
func (h *history) recover(ctx context.Context, images runtime.Images) error {
	entries, err := os.ReadDir(h.pulling)
	if err != nil || len(entries) == 0 {
		return err
	}
	for _, e := range entries {
		var intent v1beta1.ImagePullIntent
		path := filepath.Join(h.pulling, e.Name())
		if err := read(path, &intent); err != nil {
			if strings.HasSuffix(e.Name(), temporary) {
				os.Remove(path)
			}
			continue
		}
		full, _, err := WithTag(intent.Image)
		if err != nil {
			continue
		}
		img, err := images.ImageStatus(ctx, full)
		if err != nil {
			continue // not there: the next pull of it will take the intent over
		}
		h.add(intent.Image, img.ID, nil)
		os.Remove(path)
	}
	return nil
}

// begin notes that image is going to be pulled. pulled or failed follows.
func (h *history) begin(image string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.intents[image] == 0 {
		intent := v1beta1.ImagePullIntent{Image: image}
		intent.Kind, intent.APIVersion = "ImagePullIntent", v1beta1.SchemeGroupVersion.String()
		if err := write(fileOf(h.pulling, image), &intent); err != nil {
			return err
		}
	}
	h.intents[image]++
	return nil
}

func (h *history) failed(image string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endLocked(image)
}

func (h *history) endLocked(image string) {
	if h.intents[image]--; h.intents[image] > 0 {
		return
	}
	delete(h.intents, image)
	if err := os.Remove(fileOf(h.pulling, image)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		slog.Error("Removing the record of a pull that has ended failed", "image", image, "err", err)
	}
}

// pulled notes that image is there, as id, by these credentials. Should that fail, the intent stays: it says
// that the image was not put there by hand.
func (h *history) pulled(image, id string, by *v1beta1.ImagePullCredentials) {
	if h.add(image, id, by) {
		h.failed(image)
	}
}

// add puts credentials into the record of an image. nil: there are none to tell of.
func (h *history) add(image, id string, by *v1beta1.ImagePullCredentials) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.addLocked(image, id, by)
	if err != nil {
		slog.Error("Recording a pull failed", "image", image, "id", id, "err", err)
	}
	return err == nil
}

func (h *history) addLocked(image, id string, by *v1beta1.ImagePullCredentials) error {
	name, err := kubeletconfig.TrimTag(image)
	if err != nil {
		return err
	}
	rec, err := h.readLocked(id)
	if err != nil || rec == nil {
		rec = &v1beta1.ImagePulledRecord{ImageRef: id}
		rec.Kind, rec.APIVersion = "ImagePulledRecord", v1beta1.SchemeGroupVersion.String()
	} else if by == nil {
		return nil
	}
	if by != nil {
		next, changed := merge(rec.CredentialMapping[name], *by)
		if _, known := rec.CredentialMapping[name]; known && !changed {
			return nil
		}
		if rec.CredentialMapping == nil {
			rec.CredentialMapping = map[string]v1beta1.ImagePullCredentials{}
		}
		rec.CredentialMapping[name] = next
	}
	rec.LastUpdatedTime = metav1.NewTime(time.Now())
	return write(fileOf(h.pulledDir, id), rec)
}

// merge adds what is new. What every pod may use needs no list of who else may.
func merge(old, add v1beta1.ImagePullCredentials) (_ v1beta1.ImagePullCredentials, changed bool) {
	if old.NodePodsAccessible {
		return old, false
	}
	if add.NodePodsAccessible {
		return v1beta1.ImagePullCredentials{NodePodsAccessible: true}, true
	}
	out := v1beta1.ImagePullCredentials{
		KubernetesSecrets: slices.Clone(old.KubernetesSecrets), KubernetesServiceAccounts: slices.Clone(old.KubernetesServiceAccounts),
	}
	for _, s := range add.KubernetesSecrets {
		i := slices.IndexFunc(out.KubernetesSecrets, func(k v1beta1.ImagePullSecret) bool {
			return k.UID == s.UID && k.Namespace == s.Namespace && k.Name == s.Name
		})
		switch {
		case i < 0:
			out.KubernetesSecrets, changed = append(out.KubernetesSecrets, s), true
		case out.KubernetesSecrets[i] != s:
			out.KubernetesSecrets[i], changed = s, true
		}
	}
	for _, a := range add.KubernetesServiceAccounts {
		if !slices.Contains(out.KubernetesServiceAccounts, a) {
			out.KubernetesServiceAccounts, changed = append(out.KubernetesServiceAccounts, a), true
		}
	}
	slices.SortFunc(out.KubernetesSecrets, func(a, b v1beta1.ImagePullSecret) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.UID, b.UID))
	})
	slices.SortFunc(out.KubernetesServiceAccounts, func(a, b v1beta1.ImagePullServiceAccount) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.UID, b.UID))
	})
	return out, changed
}

// lookup returns the record of an image that is present, and whether this node has pulled it.
func (h *history) lookup(image, id string) (_ *v1beta1.ImagePulledRecord, pulledHere bool, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rec, err := h.readLocked(id)
	if err != nil || rec != nil {
		return rec, true, err
	}
	if h.intents[image] > 0 {
		return nil, true, nil
	}
	var intent v1beta1.ImagePullIntent
	err = read(fileOf(h.pulling, image), &intent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return nil, err == nil && intent.Image == image, err
}

func (h *history) readLocked(id string) (*v1beta1.ImagePulledRecord, error) {
	var rec v1beta1.ImagePulledRecord
	err := read(fileOf(h.pulledDir, id), &rec)
	if errors.Is(err, fs.ErrNotExist) || err == nil && rec.ImageRef != id {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &rec, nil
}

// pruneEvery is how often, at most, records of images that are gone are looked for.
const pruneEvery = 5 * time.Minute

// prune removes the records of images that are gone. There are more of them only after a pull.
func (h *history) prune(ctx context.Context, images runtime.Images) {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := time.Now()
	if since.Sub(h.pruned) < pruneEvery {
		return
	}
	h.pruned = since
	present, err := images.ListImages(ctx)
	if err != nil {
		slog.Warn("Listing images failed; records of those that are gone stay", "err", err)
		return
	}
	there := map[string]bool{}
	for _, img := range present {
		there[img.ID] = true
	}
	entries, err := os.ReadDir(h.pulledDir)
	if err != nil {
		slog.Warn("Listing the records of pulls failed", "err", err)
		return
	}
	for _, e := range entries {
		var rec v1beta1.ImagePulledRecord
		path := filepath.Join(h.pulledDir, e.Name())
		if read(path, &rec) != nil || there[rec.ImageRef] {
			continue
		}
		if err := os.Remove(path); err != nil {
			slog.Error("Removing the record of an image that is gone failed", "image", rec.ImageRef, "err", err)
		}
	}
}

const temporary = ".tmp"

// fileOf names a record's file as a kubelet does: no image's name is too long or strange for it.
func fileOf(dir, name string) string {
	return filepath.Join(dir, fmt.Sprintf("sha256-%x", sha256.Sum256([]byte(name))))
}

func read(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("record of a pull %s: %w", path, err)
	}
	return nil
}

func write(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + temporary
	err = os.WriteFile(tmp, append(b, '\n'), 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("record of a pull: %w", err)
	}
	return nil
}
