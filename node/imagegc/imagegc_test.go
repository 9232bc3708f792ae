package imagegc

import (
	"fmt"
	"testing"
	"time"

	"clipper/node/runtime"
)

func TestPlan(t *testing.T) {
	images := []runtime.Image{{ID: "a", Size: 10}, {ID: "b", Size: 10}, {ID: "c", Size: 10}}
	for _, tc := range []struct {
		available, need int64
		victims         string
	}{
		{50, 0, "[]"},
		{16, 0, "[]"}, // 84 % used
		{15, 5, "[a]"},
		{5, 15, "[a b]"},
		{0, 20, "[a b]"},
	} {
		need, victims := plan(100, tc.available, images)
		ids := []string{}
		for _, v := range victims {
			ids = append(ids, v.ID)
		}
		if got := fmt.Sprint(ids); need != tc.need || got != tc.victims {
			t.Errorf("available %d: need %d, victims %s; want %d, %s", tc.available, need, got, tc.need, tc.victims)
		}
	}
}

func TestCandidatesAreTheLongestUnused(t *testing.T) {
	c := New(Config{})
	at := func(m int) time.Time { return time.Date(2026, 1, 1, 0, m, 0, 0, time.UTC) }
	images := []runtime.Image{{ID: "used", Tags: []string{"u:1"}}, {ID: "once"}, {ID: "never"}, {ID: "pinned", Pinned: true}}
	c.note(images, map[string]bool{"u:1": true, "once": true}, at(0))
	c.note(images, map[string]bool{"u:1": true}, at(5))
	images = append(images, runtime.Image{ID: "young"})
	c.note(images, map[string]bool{"u:1": true}, at(10))
	var got []string
	for _, img := range c.candidates(images, at(10)) {
		got = append(got, img.ID)
	}
	if fmt.Sprint(got) != "[never once]" {
		t.Errorf("candidates = %v", got)
	}
}
