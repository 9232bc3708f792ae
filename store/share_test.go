package store

import "testing"

func TestFairShare(t *testing.T) {
	for _, tt := range []struct {
		sizes []int
		total int
		want  int
	}{
		{nil, 12, 12},
		{[]int{4, 1, 2}, 12, 12}, // all fit
		{[]int{4, 4, 4, 4}, 12, 3},
		{[]int{9, 1, 9, 1}, 12, 5}, // the small ones stay
		{[]int{20}, 12, 12},
		{[]int{0, 0, 100}, 12, 12},
	} {
		if got := fairShare(tt.sizes, tt.total); got != tt.want {
			t.Errorf("%v within %d: %d each, want %d", tt.sizes, tt.total, got, tt.want)
		}
	}
}
