package reference

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for in, want := range map[string][2]string{ // full and familiar form
		"nginx":                         {"docker.io/library/nginx:latest", "nginx:latest"},
		"nginx:1.25":                    {"docker.io/library/nginx:1.25", "nginx:1.25"},
		"docker.io/nginx":               {"docker.io/library/nginx:latest", "nginx:latest"},
		"index.docker.io/library/nginx": {"docker.io/library/nginx:latest", "nginx:latest"},
		"org/app":                       {"docker.io/org/app:latest", "org/app:latest"},
		"k8s.gcr.io/busybox":            {"k8s.gcr.io/busybox:latest", "k8s.gcr.io/busybox:latest"},
		"localhost/app":                 {"localhost/app:latest", "localhost/app:latest"},
		"localhost:5000/a/b:2":          {"localhost:5000/a/b:2", "localhost:5000/a/b:2"},
		"docker.io/quay.io/app":         {"docker.io/quay.io/app:latest", "docker.io/quay.io/app:latest"},
		"nginx@" + digest:               {"docker.io/library/nginx@" + digest, "nginx@" + digest},
		"nginx:1@" + digest:             {"docker.io/library/nginx:1@" + digest, "nginx:1@" + digest},
	} {
		ref, err := Parse(in)
		if err != nil || ref.String() != want[0] || ref.Familiar() != want[1] {
			t.Errorf("%s: %s, %s, %v", in, ref, ref.Familiar(), err)
		}
	}
	for in, want := range map[string]string{
		"":         `couldn't parse image name "": invalid reference format`,
		"Nginx":    `couldn't parse image name "Nginx": invalid reference format: repository name (library/Nginx) must be lowercase`,
		"a b":      `couldn't parse image name "a b": invalid reference format`,
		"nginx:":   `couldn't parse image name "nginx:": invalid reference format`,
		"nginx@x":  `couldn't parse image name "nginx@x": invalid reference format`,
		"http://x": `couldn't parse image name "http://x": invalid reference format`,
	} {
		if _, err := Parse(in); !errors.Is(err, ErrInvalid) || err.Error() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// FuzzParse: what is accepted has a form of its own that means the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"nginx", "quay.io/org/app:1", "localhost:5000/a@sha256:" + strings.Repeat("0", 64), "a/b:c@d", "A", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again != r {
			t.Errorf("%q is %+v, which is %+v, %v", s, r, again, err)
		}
		if short, err := Parse(r.Familiar()); err != nil || short != r {
			t.Errorf("%q: its familiar form %q is %+v, %v", s, r.Familiar(), short, err)
		}
	})
}
