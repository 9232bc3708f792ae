package standin

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Options say what a server is to be.
type Options struct {
	Endpoints []string // of etcd
	Root      string   // of the keys there
	Flags     []Flag   // as FlagsOf finds them
	Gates     []string // name=true|false, as GatesOf finds them
	DoNotWait bool     // be content with a server that serves

	token string
	files map[string]string // by flag: what prepare has written
}

// Files of a server that prepare writes.
const (
	tokensFile = "tokens.csv"
	plainFile  = "plain.yaml"
)

// plain stores secrets as they are, for tests that look into etcd.
const plain = `{"apiVersion":"apiserver.config.k8s.io/v1","kind":"EncryptionConfiguration",
"resources":[{"resources":["secrets"],"providers":[{"identity":{}}]}]}
`

// prepare writes what the server reads when it starts.
func (o *Options) prepare(ctx context.Context, dir string) error {
	o.token, o.files = uuid.NewString(), map[string]string{}
	tokens := o.token + `,system:apiserver,` + uuid.NewString() + `,"system:masters"` + "\n"
	if given := o.value("token-auth-file"); given != "" {
		content, err := os.ReadFile(given)
		if err != nil {
			return err
		}
		tokens += string(content)
	}
	contents := map[string]struct{ name, content string }{
		"token-auth-file": {tokensFile, tokens}, "encryption-provider-config": {plainFile, plain},
	}
	for flag, file := range contents {
		if o.value(flag) != "" && flag != "token-auth-file" {
			continue
		}
		o.files[flag] = filepath.Join(dir, file.name)
		if err := os.WriteFile(o.files[flag], []byte(file.content), 0o600); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "pki"), 0o700); err != nil {
		return err
	}
	return holdDuties(ctx, o.Endpoints, o.Root)
}

// value returns that of a flag, or "".
func (o *Options) value(name string) string {
	for _, f := range o.Flags {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Override returns flags with those of more in place of the ones of the same names.
func Override(flags, more []Flag) []Flag {
	kept := slices.DeleteFunc(slices.Clone(flags), func(f Flag) bool {
		return slices.ContainsFunc(more, func(m Flag) bool { return m.Name == f.Name })
	})
	return append(kept, more...)
}

// arguments are the server's command line.
func (o *Options) arguments(dir string) []string {
	args := []string{"server", "--disable-agent", "--data-dir=" + dir, "--listen-fd=3", "--listen=127.0.0.1:0", "--etcd-prefix=/" + strings.Trim(o.Root, "/"),
		"--etcd-servers=" + strings.Join(o.Endpoints, ",")}
	if o.value("authorization-mode") == "" && o.value("authorization-config") == "" {
		args = append(args, "--authorization-mode=AlwaysAllow") // upstream's default
	}
	if o.value("service-cidr") == "" {
		args = append(args, "--service-cidr=10.0.0.0/16")
	}
	for _, f := range o.Flags {
		if _, ours := o.files[f.Name]; !ours {
			args = append(args, "--"+f.Name+"="+f.Value)
		}
	}
	for flag, file := range o.files {
		args = append(args, "--"+flag+"="+file)
	}
	if len(o.Gates) > 0 {
		args = append(args, "--feature-gates="+strings.Join(o.Gates, ","))
	}
	return args
}
