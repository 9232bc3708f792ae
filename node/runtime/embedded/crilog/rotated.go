package crilog

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stampLayout is the time of a rotation as it stands in a file's name, in the machine's time zone: a kubelet's.
const stampLayout = "20060102-150405"

// Rotated returns the files that were rotated away from the log at path, the oldest first: what is compressed and
// what an interrupted compression has left included.
func Rotated(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(path)+".") {
			out = append(out, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	slices.SortStableFunc(out, func(a, b string) int {
		stampA, nA := parseRotated(path, a)
		stampB, nB := parseRotated(path, b)
		return cmp.Or(strings.Compare(stampA, stampB), cmp.Compare(nA, nB))
	})
	return out, nil
}

// RotatedName is what the log at path is to be renamed to at the time now: <path>.<time>, with a number where that
// was not the second's first. rotated are the files that there are.
func RotatedName(path string, rotated []string, now time.Time) string {
	stamp := now.Format(stampLayout)
	next := 0
	for _, f := range rotated {
		if s, n := parseRotated(path, f); s == stamp {
			next = max(next, n+1)
		}
	}
	if next == 0 {
		return path + "." + stamp
	}
	return fmt.Sprintf("%s.%s-%d", path, stamp, next)
}

// parseRotated takes the name of a rotated file apart: its time, and which of that second it was.
func parseRotated(path, file string) (stamp string, n int) {
	rest := strings.TrimPrefix(file, path+".")
	rest, _, _ = strings.Cut(rest, ".") // .gz, .tmp
	if len(rest) > len(stampLayout)+1 {
		if n, err := strconv.Atoi(rest[len(stampLayout)+1:]); err == nil {
			return rest[:len(stampLayout)], n
		}
	}
	return rest, 0
}
