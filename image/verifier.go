package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrRejected is that of an image which a verifier has refused. Its words are those by which node agents know the
// reason, at the beginning of the text.
var ErrRejected = errors.New("SignatureValidationFailed")

// Limits of verifiers: containerd's defaults.
const (
	maxVerifiers  = 10
	verifierTime  = 10 * time.Second
	maxVerifyText = 32 << 10
)

// verifiers is a folder of programs that decide whether an image may be pulled, by containerd's protocol: each is
// called with the image's name and digest, has the descriptor on its standard input, and refuses by its exit code.
// All must agree. Without a folder or programs in it, every image may.
type verifiers string

func (v verifiers) verify(ctx context.Context, name string, desc v1.Descriptor) error {
	if v == "" {
		return nil
	}
	entries, err := os.ReadDir(string(v)) // in the order of names
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: list image verifiers: %w", ErrRejected, err)
	}
	if len(entries) > maxVerifiers { // containerd passes the rest over; to leave a check out unseen is not ours to do
		return fmt.Errorf("%w: there are %d image verifiers in %s; at most %d are allowed", ErrRejected, len(entries), v, maxVerifiers)
	}
	for _, e := range entries {
		said, err := v.run(ctx, e.Name(), name, desc)
		var exit *exec.ExitError
		switch {
		case err == nil:
		case errors.As(err, &exit) && exit.Exited():
			return fmt.Errorf("%w: image verifier %s rejected %s with digest %s (exit code %d): %s", ErrRejected, e.Name(), name, desc.Digest, exit.ExitCode(), said)
		default:
			return fmt.Errorf("%w: image verifier %s: %w", ErrRejected, e.Name(), err)
		}
	}
	return nil
}

func (v verifiers) run(ctx context.Context, program, name string, desc v1.Descriptor) (said string, err error) {
	in, err := json.Marshal(desc)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, verifierTime)
	defer cancel()
	out := &head{left: maxVerifyText}
	cmd := exec.CommandContext(ctx, filepath.Join(string(v), program),
		"-name", name, "-digest", desc.Digest.String(), "-stdin-media-type", "application/vnd.oci.descriptor.v1+json")
	cmd.Stdin, cmd.Stdout = bytes.NewReader(in), out
	cmd.WaitDelay = time.Second // its children are not waited for
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v", verifierTime)
	}
	return strings.TrimSpace(out.text.String()), err
}

// head keeps the beginning of what is written to it.
type head struct {
	text strings.Builder
	left int
}

func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), h.left)
	h.left -= n
	h.text.Write(p[:n])
	return len(p), nil
}
