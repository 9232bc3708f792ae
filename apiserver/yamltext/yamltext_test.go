package yamltext

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"sigs.k8s.io/yaml"
)

var texts = []string{"", "a: 1", "a: 1\na: 2", `{"a":1,"a":[2]}`, "a: [", "a: &x 1\nb: *x", "<<: {a: 1}\na: 2", "- 1e3\n- 0x10\n- yes", "a: 1\n---\nb: 2", "? {a: 1}\n: 2"}

// TestToJSON: what is said once and what is said twice come out as the library has them, each in its own pass.
func TestToJSON(t *testing.T) {
	for _, text := range texts {
		same(t, []byte(text))
	}
}

func FuzzToJSON(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) < 4<<10 {
			same(t, text)
		}
	})
}

func same(t *testing.T, text []byte) {
	t.Helper()
	want, wantErr := yaml.YAMLToJSON(text)
	_, twice := yaml.YAMLToJSONStrict(text)
	got, duplicates, err := ToJSON(text)
	if !bytes.Equal(got, want) || said(err) != said(wantErr) || said(duplicates) != said(twice) {
		t.Errorf("%q: %q %v %v, want %q %v %v", text, got, duplicates, err, want, twice, wantErr)
	}
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestTurn: long texts wait for each other and no longer than their requests, short ones for nobody.
func TestTurn(t *testing.T) {
	done, err := Turn(t.Context(), together+1) // no longer than a body may be, for all that this package knows
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Turn(ended, short+1); !errors.Is(err, context.Canceled) {
		t.Errorf("a second long text: %v", err)
	}
	if release, err := Turn(ended, short); err != nil {
		t.Errorf("a short text: %v", err)
	} else {
		release()
	}
	done()
	if release, err := Turn(t.Context(), together); err != nil {
		t.Errorf("when the first has gone: %v", err)
	} else {
		release()
	}
}
