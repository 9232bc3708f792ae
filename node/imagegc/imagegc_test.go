package imagegc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"clipper/node/runtime"
)

func ids(images []runtime.Image) string {
	out := []string{}
	for _, img := range images {
		out = append(out, img.ID)
	}
	return strings.Join(out, " ")
}

func TestPlan(t *testing.T) {
	c := New(Config{High: 85, Low: 80})
	images := []runtime.Image{{ID: "a", Size: 10}, {ID: "b", Size: 10}, {ID: "c", Size: 10}}
	for _, tc := range []struct {
		available, need int64
		victims         string
	}{
		{50, 0, ""},
		{16, 0, ""}, // 84 % used
		{15, 5, "a"},
		{5, 15, "a b"},
		{0, 20, "a b"},
	} {
		need, victims := c.plan(100, tc.available, images)
		if got := ids(victims); need != tc.need || got != tc.victims {
			t.Errorf("available %d: need %d, victims %s; want %d, %s", tc.available, need, got, tc.need, tc.victims)
		}
	}
}

func at(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }

// store is an image store.
type store struct {
	runtime.Images
	images  []runtime.Image
	removed []string
	fail    string
}

func (s *store) ListImages(context.Context) ([]runtime.Image, error) {
	return slices.Clone(s.images), nil
}

func (s *store) RemoveImage(_ context.Context, id string) error {
	if id == s.fail {
		return fmt.Errorf("%s is stuck", id)
	}
	s.removed = append(s.removed, id)
	s.images = slices.DeleteFunc(s.images, func(i runtime.Image) bool { return i.ID == id })
	return nil
}

func TestUnusedAreSortedByLastUse(t *testing.T) {
	s := &store{images: []runtime.Image{{ID: "used", Tags: []string{"u:1"}}, {ID: "once"}, {ID: "never"}, {ID: "pinned", Pinned: true}}}
	inUse := map[string]bool{"u:1": true, "once": true}
	c := New(Config{Images: s, MinAge: 2 * time.Minute, InUse: func() map[string]bool { return inUse }})
	look := func(minute int) []runtime.Image {
		got, err := c.unused(context.Background(), at(minute))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	look(0)
	delete(inUse, "once")
	s.images = append(s.images, runtime.Image{ID: "young"})
	if got := ids(look(10)); got != "never young once" {
		t.Errorf("unused are %q", got)
	}
	if got := ids(c.grown(look(11), at(11))); got != "never once" {
		t.Errorf("grown are %q", got)
	}
}

func TestOutdated(t *testing.T) {
	s := &store{images: []runtime.Image{{ID: "once"}, {ID: "never"}}}
	inUse := map[string]bool{"once": true}
	c := New(Config{Images: s, MaxAge: time.Hour, InUse: func() map[string]bool { return inUse }})
	c.began = at(0)
	for _, tc := range []struct {
		minute int
		old    string
	}{{0, ""}, {30, ""}, {60, ""}, {61, "never"}, {90, "never"}, {91, "never once"}} {
		if tc.minute > 30 {
			inUse = nil
		}
		unused, err := c.unused(context.Background(), at(tc.minute))
		if err != nil {
			t.Fatal(err)
		}
		if old, _ := c.outdated(unused, at(tc.minute)); ids(old) != tc.old {
			t.Errorf("at %d: %q are outdated, want %q", tc.minute, ids(old), tc.old)
		}
	}
}

func TestRemoveUnused(t *testing.T) {
	s := &store{images: []runtime.Image{{ID: "a"}, {ID: "stuck"}, {ID: "b"}, {ID: "used"}}, fail: "stuck"}
	c := New(Config{Images: s, InUse: func() map[string]bool { return map[string]bool{"used": true} }})
	if err := c.RemoveUnused(context.Background()); err == nil || !strings.Contains(err.Error(), "stuck is stuck") {
		t.Errorf("got error %v", err)
	}
	if got := strings.Join(s.removed, " "); got != "a b" {
		t.Errorf("removed %q", got)
	}
}

func TestNotEnough(t *testing.T) {
	var told []string
	c := New(Config{Images: &store{}, Dir: t.TempDir(), High: 0, Low: 0, InUse: func() map[string]bool { return nil },
		Event: func(reason, message string) { told = append(told, reason+": "+message) }})
	err := c.collect(context.Background(), at(0))
	if err == nil || len(told) != 1 || !strings.HasPrefix(told[0], "FreeDiskSpaceFailed: Insufficient free disk space on the node's image filesystem (") {
		t.Errorf("got %v, told %q", err, told)
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 3 << 30: "3.0 GiB", 5 << 50: "5120.0 TiB"} {
		if got := size(bytes); got != want {
			t.Errorf("%d is %s, want %s", bytes, got, want)
		}
	}
}
