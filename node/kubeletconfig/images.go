package kubeletconfig

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"k8s.io/kubelet/config/v1beta1"
)

// Preloaded reports whether preloadedImagesVerificationAllowlist covers an image: by its name without tag and
// digest, or by a path that the name lies below ("registry.example.com/team/*").
func Preloaded(allowlist []string, image string) bool {
	name, err := TrimTag(image)
	if err != nil {
		name = image
	}
	for _, pattern := range allowlist {
		prefix, wild := strings.CutSuffix(pattern, "*")
		if pattern == name || wild && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// TrimTag returns an image's name as it was given, without tag and digest.
func TrimTag(image string) (string, error) {
	named, err := reference.Parse(image)
	if err != nil {
		return "", err
	}
	out, ok := image, true
	if d, is := named.(reference.Digested); is {
		out, ok = strings.CutSuffix(out, "@"+d.Digest().String())
	}
	if t, is := named.(reference.Tagged); is && ok {
		out, ok = strings.CutSuffix(out, ":"+t.Tag())
	}
	if !ok {
		return "", fmt.Errorf("image name %q: tag and digest do not stand last", image)
	}
	return out, nil
}

// verificationRules are about who may use an image that is there already.
func verificationRules(c *Configuration) []rule {
	policy := c.ImagePullCredentialsVerificationPolicy
	known := []v1beta1.ImagePullCredentialsVerificationPolicy{
		v1beta1.NeverVerify, v1beta1.NeverVerifyPreloadedImages, v1beta1.NeverVerifyAllowlistedImages, v1beta1.AlwaysVerify,
	}
	valid := false
	for _, k := range known {
		valid = valid || policy == k
	}
	out := []rule{
		{valid, "option %q specified for imagePullCredentialsVerificationPolicy. Valid options are %q, %q, %q or %q", []any{policy, known[0], known[1], known[2], known[3]}},
	}
	if len(c.PreloadedImagesVerificationAllowlist) > 0 && policy != v1beta1.NeverVerifyAllowlistedImages {
		return append(out, rule{false, "can't set `preloadedImagesVerificationAllowlist` if `imagePullCredentialsVertificationPolicy` is not \"NeverVerifyAllowlistedImages\"", nil})
	}
	for _, pattern := range c.PreloadedImagesVerificationAllowlist {
		err := checkPattern(pattern)
		out = append(out, rule{err == nil, "invalid image pattern in `preloadedImagesVerificationAllowlist`: %w", []any{err}})
	}
	return out
}

func checkPattern(pattern string) error {
	if pattern != strings.TrimSpace(pattern) {
		return fmt.Errorf("leading/trailing spaces are not allowed: %s", pattern)
	}
	prefix, wild := pattern, false
	if strings.HasSuffix(pattern, "/*") {
		prefix, wild = strings.TrimSuffix(pattern, "*"), true
	}
	switch {
	case prefix == "":
		return fmt.Errorf("the supplied pattern is too short: %s", pattern)
	case strings.Contains(prefix, "*"):
		return fmt.Errorf("not a valid wildcard pattern, only patterns ending with '/*' are allowed: %s", pattern)
	case wild && prefix == "/":
		return errors.New("at least registry hostname is required")
	case wild:
		return nil
	}
	name, err := TrimTag(pattern)
	if err != nil {
		return fmt.Errorf("failed to parse as an image name: %w", err)
	}
	if name != pattern {
		return fmt.Errorf("neither tag nor digest is accepted in an image reference: %s", pattern)
	}
	return nil
}
