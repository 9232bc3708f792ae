package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clipper/image/build"
)

// TestPowerLoss takes a picture of the store at every step of a pull, makes of it what a kill and what a loss of
// power there could leave, and looks whether a store that is opened on that is whole and can pull again.
func TestPowerLoss(t *testing.T) {
	srv := newServer(t, false)
	ref := srv.host() + "/app:1"
	shared := testLayer(t, "etc/shared=shared")
	srv.push(t, "app:1", testImage(t, build.Spec{User: "old"}, shared, testLayer(t, "etc/motd=old")))
	s := openWith(t, nil)
	if _, err := s.PullImage(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	srv.push(t, "app:1", testImage(t, build.Spec{User: "new"}, shared, testLayer(t, "etc/motd=new"), testLayer(t, "etc/more=more")))
	pictures := t.TempDir()
	var steps []string
	s.atOnce = 1 // nothing is written while a picture is taken
	s.step = func(name string) {
		dir := filepath.Join(pictures, fmt.Sprintf("%02d", len(steps)))
		steps = append(steps, name)
		copyTree(t, s.dir, dir)
	}
	if _, err := s.PullImage(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	copyTree(t, s.dir, filepath.Join(pictures, fmt.Sprintf("%02d", len(steps))))
	steps = append(steps, "done")
	if len(steps) < 10 {
		t.Fatalf("only %d steps: %v", len(steps), steps)
	}
	for i, step := range steps {
		picture := filepath.Join(pictures, fmt.Sprintf("%02d", i))
		for what, damage := range map[string]func(*testing.T, string){
			"kill": func(*testing.T, string) {}, "power, tmp empty": truncateTmp, "power, tmp gone": removeTmp,
			"power, blobs not renamed": removeUnnamed("blobs/sha256"), "power, layers not renamed": removeUnnamed("layers"),
		} {
			t.Run(fmt.Sprintf("%d %s: %s", i, step, what), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "store")
				copyTree(t, picture, dir)
				damage(t, dir)
				again := open(t, dir)
				user := checkWhole(t, again, ref)
				if step == "done" && user != "new" {
					t.Errorf("after the pull had returned the image is the %s one", user)
				}
				if _, err := again.PullImage(t.Context(), ref, nil); err != nil {
					t.Fatalf("pull after the crash: %v", err)
				}
				if user := checkWhole(t, again, ref); user != "new" {
					t.Errorf("after another pull the image is the %s one", user)
				}
				if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
					t.Errorf("left in tmp: %v, %v", left, err)
				}
			})
		}
	}
}

// checkWhole checks that all that the index names is there and what it should be, and returns the image's user.
func checkWhole(t *testing.T, s *Store, ref string) string {
	t.Helper()
	ix, err := s.index()
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range ix.Images {
		blobs := []string{rec.ID, rec.Manifest}
		for _, l := range rec.Layers {
			blobs = append(blobs, l.Blob)
			if !exists(s.layerPath(l.DiffID)) {
				t.Errorf("image %v: layer %s is missing", rec.Tags, l.DiffID)
			}
		}
		for _, digest := range blobs {
			b, err := os.ReadFile(s.blobPath(digest))
			if sum := sha256.Sum256(b); err != nil || "sha256:"+hex.EncodeToString(sum[:]) != digest {
				t.Errorf("image %v: blob %s is damaged: %v", rec.Tags, digest, err)
			}
		}
	}
	sn, config, err := s.Prepare(t.Context(), "c", ref)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.RemoveSnapshot(t.Context(), "c"); err != nil {
			t.Error(err)
		}
	}()
	want := map[string]string{"etc/shared": "shared", "etc/motd": config.Config.User}
	if config.Config.User == "new" {
		want["etc/more"] = "more"
	}
	for name, content := range want {
		if got, err := os.ReadFile(filepath.Join(sn.Rootfs, name)); err != nil || string(got) != content {
			t.Errorf("%s holds %q, %v; want %q", name, got, err, content)
		}
	}
	return config.Config.User
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v: %s", err, out)
	}
}

// truncateTmp is what may be left of files that were never synced: names without content.
func truncateTmp(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "tmp"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			err = os.Truncate(path, 0)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func removeTmp(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, "tmp")); err != nil {
		t.Fatal(err)
	}
}

// removeUnnamed takes back renames that no sync of the folder has made last: of what the index does not name.
func removeUnnamed(folder string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		ix, err := readIndex(filepath.Join(dir, "index.json"))
		if err != nil {
			t.Fatal(err)
		}
		var named []string
		for _, rec := range ix.Images {
			named = append(named, rec.ID, rec.Manifest)
			for _, l := range rec.Layers {
				named = append(named, l.Blob, l.DiffID)
			}
		}
		entries, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(named, "sha256:"+e.Name()) {
				if err := os.RemoveAll(filepath.Join(dir, folder, e.Name())); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
