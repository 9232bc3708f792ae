package imagecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"clipper/image"
	"clipper/image/reference"
	"clipper/node/credential"
	"clipper/node/runtime"
)

func (s *store) pullCmd() *cobra.Command {
	var user, passwordFile string
	cmd := &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Pull images from a registry",
		Long: `Pulls over HTTPS; plain HTTP only from this machine or where a hosts.toml says so.
HOST/hosts.toml in the folder registries of the data directory, in /etc/clipper/registries or
in --hosts-dir names mirrors and certificate authorities of a registry, as containerd has it.
Without --user the node's logins count: those in config.json of the data directory.`,
		Example: `  clipper image pull nginx:1.27 registry.k8s.io/pause:3.10
  clipper image pull --user me --password-file ~/.token registry.example.com/app:1`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := s.open()
			if err != nil {
				return err
			}
			auth, err := credentials(user, passwordFile)
			if err != nil {
				return err
			}
			for _, ref := range args {
				p := startProgress(cmd.ErrOrStderr(), "pulling "+ref)
				img, err := s.pull(cmd.Context(), st, ref, auth)
				p.stop()
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", firstName(img), shortID(img))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&user, "user", "u", "", "user name at the registry")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", `file that holds the password or token, "-" for standard input`)
	cmd.Flags().StringSliceVar(&s.hostsDirs, "hosts-dir", nil, "folder with HOST/hosts.toml files, looked at first")
	return cmd
}

// pull tries the login given, else the node's, one by one.
func (s *store) pull(ctx context.Context, st *image.Store, ref string, auth []runtime.PullAuth) (runtime.Image, error) {
	if parsed, err := reference.Parse(ref); auth == nil && err == nil {
		finder, err := credential.Open(credential.Config{Dirs: []string{s.dataDir}})
		if err != nil {
			return runtime.Image{}, err
		}
		logins, err := finder.Logins(ctx, &corev1.Pod{}, nil, parsed.Name())
		if err != nil {
			return runtime.Image{}, err
		}
		for _, l := range logins {
			auth = append(auth, runtime.PullAuth{Username: l.Username, Password: l.Password})
		}
	}
	return st.PullImage(ctx, ref, auth)
}

// credentials come from a file: a flag's value would be in the process list.
func credentials(user, passwordFile string) ([]runtime.PullAuth, error) {
	if user == "" && passwordFile == "" {
		return nil, nil
	}
	if user == "" || passwordFile == "" {
		return nil, errors.New("--user and --password-file go together")
	}
	read := os.ReadFile
	if passwordFile == "-" {
		read = func(string) ([]byte, error) { return io.ReadAll(io.LimitReader(os.Stdin, 64<<10)) }
	}
	b, err := read(passwordFile)
	if err != nil {
		return nil, fmt.Errorf("--password-file: %w", err)
	}
	return []runtime.PullAuth{{Username: user, Password: strings.TrimRight(string(b), "\r\n")}}, nil
}
