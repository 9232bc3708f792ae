package imagepolicy

import (
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/yaml"
)

// settings are the plug-in's configuration, which has no kind. The file's numbers are in units of their own.
type settings struct {
	KubeConfigFile string        `json:"kubeConfigFile"`
	AllowTTL       time.Duration `json:"allowTTL"`     // in seconds
	DenyTTL        time.Duration `json:"denyTTL"`      // in seconds
	RetryBackoff   time.Duration `json:"retryBackoff"` // in milliseconds
	DefaultAllow   bool          `json:"defaultAllow"`
}

func readSettings(raw []byte) (*settings, error) {
	if raw == nil {
		return nil, errors.New("no config specified")
	}
	var file struct {
		ImagePolicy settings `json:"imagePolicy"`
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		return nil, err
	}
	s := &file.ImagePolicy
	for _, d := range []struct {
		value                 *time.Duration
		unit, above, most, or time.Duration
	}{
		{&s.RetryBackoff, time.Millisecond, 1, 5 * time.Minute, 500 * time.Millisecond},
		{&s.AllowTTL, time.Second, time.Second, 30 * time.Minute, 5 * time.Minute},
		{&s.DenyTTL, time.Second, time.Second, 30 * time.Minute, 30 * time.Second},
	} {
		switch *d.value {
		case -1: // switched off
			*d.value = 0
			continue
		case 0:
			*d.value = d.or
			continue
		}
		if *d.value *= d.unit; *d.value <= d.above || *d.value > d.most {
			return nil, fmt.Errorf("valid value is between %v and %v, got %v", d.above, d.most, *d.value)
		}
	}
	return s, nil
}
