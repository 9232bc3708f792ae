package apiserver

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestWarnings: each text once, and never more of them than clients take.
func TestWarningsAreBounded(t *testing.T) {
	var w warnings
	h := http.Header{}
	for range 2 {
		w.add(h, "one")
		w.add(h, `say "two"`)
		w.add(h, "")
		w.add(h, "no\x00control")
	}
	if got := h.Values("Warning"); len(got) != 2 || got[0] != `299 - "one"` || got[1] != `299 - "say \"two\""` {
		t.Errorf("%q", got)
	}
	for i := range 100 {
		w.add(h, fmt.Sprintf("%04d %s", i, strings.Repeat("é", 995)))
	}
	got := h.Values("Warning")
	total := 0
	for _, v := range got {
		total += utf8.RuneCountInString(v)
	}
	if got[0] != `299 - "one"` || !strings.HasPrefix(got[2], `299 - "0000 éé`) || utf8.RuneCountInString(got[2]) != warningRunes+len(`299 - ""`) {
		t.Errorf("cut: %.80q", got)
	}
	if total > maxWarningRunes+warningRunes+len(got)*len(`299 - ""`) {
		t.Errorf("%d warnings of %d characters", len(got), total)
	}
}
