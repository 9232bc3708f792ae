// Package imagecmd is `clipper image`: the commands that work on a node's image store directly, with or
// without an agent running on it.
package imagecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"clipper/image"
	"clipper/image/build"
	"clipper/node/runtime"
)

// store is what the commands share: where the images are.
type store struct {
	dataDir   string
	hostsDirs []string
}

// New returns the command tree.
func New() *cobra.Command {
	s := &store{}
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Bring images to this machine, list and remove them",
		Long: `Works on the image store of this machine's node, in its data directory. A running
server or agent sees the changes at once; none needs to run.

For a local cluster made by "clipper sandbox create" use "clipper sandbox image-load",
which puts images on all of its nodes.`,
	}
	cmd.PersistentFlags().StringVar(&s.dataDir, "data-dir", "/var/lib/clipper", "data directory of the server or agent")
	cmd.AddCommand(s.importCmd(), s.exportCmd(), s.listCmd(), s.inspectCmd(), s.removeCmd(), s.pruneCmd(), s.pinCmd(true), s.pinCmd(false),
		s.pullCmd(), s.buildCmd())
	return cmd
}

func (s *store) open() (*image.Store, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the image store belongs to root; run this command with sudo")
	}
	o := image.NodeOptions(s.dataDir)
	o.Registries.HostsDirs = append(s.hostsDirs, o.Registries.HostsDirs...)
	return image.Open(o)
}

func (s *store) importCmd() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "import ARCHIVE...",
		Aliases: []string{"load"},
		Short:   "Import images from archives",
		Long: `Reads archives as "docker save", "podman save", "ctr images export", skopeo or
"clipper image export" write them: docker-archive or OCI layout, one image or many, plain
tar or compressed with gzip. "-" reads standard input.`,
		Example: `  clipper image import nginx.tar
  docker save my-app:1 | clipper image import -
  clipper image import --tag my-app:2 unnamed.tar`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := s.open()
			if err != nil {
				return err
			}
			for _, path := range args {
				if err := importFile(cmd, st, path, name); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&name, "tag", "t", "", "name for the image, if the archive holds a single one")
	return cmd
}

func importFile(cmd *cobra.Command, st *image.Store, path, name string) error {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return fmt.Errorf("import: %w", err)
		}
		defer f.Close()
	}
	p := startProgress(cmd.ErrOrStderr(), "reading "+path)
	images, err := st.Import(cmd.Context(), f, name, func(i, n int, names []string) {
		p.say(fmt.Sprintf("importing %d of %d: %s", i+1, n, strings.Join(names, ", ")))
	})
	p.stop()
	if err != nil {
		return fmt.Errorf("import %s: %w", path, err)
	}
	for _, img := range images {
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", firstName(img), shortID(img))
	}
	return nil
}

func (s *store) exportCmd() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "export -o FILE IMAGE...",
		Aliases: []string{"save"},
		Short:   "Write images to one archive",
		Long: `Writes an archive that is docker-archive and OCI layout at once, so that "docker load",
"podman load", "ctr images import" and "clipper image import" all read it.`,
		Example: `  clipper image export -o web.tar nginx:latest redis:latest
  clipper image export -o - my-app:1 | ssh other clipper image import -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := s.open()
			if err != nil {
				return err
			}
			p := startProgress(cmd.ErrOrStderr(), "exporting "+strings.Join(args, ", "))
			defer p.stop()
			if output == "-" {
				return st.Export(cmd.Context(), cmd.OutOrStdout(), args...)
			}
			return exportFile(cmd.Context(), st, output, args)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", `file to write, "-" for standard output`)
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err) // the flag is defined one line above
	}
	return cmd
}

// exportFile leaves no half archive behind.
func exportFile(ctx context.Context, st *image.Store, path string, refs []string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".export-")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer os.Remove(f.Name())
	if err := errors.Join(st.Export(ctx, f, refs...), f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("export to %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

func (s *store) listCmd() *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the images on this machine",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := s.open()
			if err != nil {
				return err
			}
			images, err := st.ListImages(cmd.Context())
			if err != nil {
				return err
			}
			return printImages(cmd.OutOrStdout(), images, quiet)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "names only, one on a line")
	return cmd
}

func printImages(w io.Writer, images []runtime.Image, quiet bool) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	if !quiet {
		fmt.Fprintln(tw, "IMAGE\tID\tSIZE")
	}
	for _, img := range images {
		names := img.Tags
		if len(names) == 0 {
			names = []string{firstName(img)}
		}
		for _, n := range names {
			if quiet {
				fmt.Fprintln(tw, n)
				continue
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\n", n, shortID(img), size(img.Size))
		}
	}
	return tw.Flush()
}

func (s *store) removeCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "remove IMAGE...",
		Aliases: []string{"rm"},
		Short:   "Remove images",
		Long: `Removes names of images; an image goes with its last name, or, given by ID, with all of
them. Running containers keep the files they were made from.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := s.open()
			if err != nil {
				return err
			}
			var errs []error
			for _, ref := range args {
				// The store is idempotent; a person who mistypes wants to know.
				if _, err := st.ImageStatus(cmd.Context(), ref); err != nil {
					errs = append(errs, err)
					continue
				}
				errs = append(errs, st.RemoveImage(cmd.Context(), ref))
			}
			return errors.Join(errs...)
		},
	}
}

func (s *store) buildCmd() *cobra.Command {
	var (
		name, from string
		spec       build.Spec
		keepOwner  bool
	)
	cmd := &cobra.Command{
		Use:   "build-from-dir DIR --tag NAME",
		Short: "Make an image from a directory",
		Long: `Makes an image whose root file system is DIR, or with --from that of another image with
DIR's content over it. No build tool is needed: compile a static program into an empty
directory and the image is a command away.`,
		Example: `  CGO_ENABLED=0 go build -o root/app . && clipper image build-from-dir root --tag app:1 --entrypoint /app
  clipper image build-from-dir site --from nginx:latest --tag site:1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := s.open()
			if err != nil {
				return err
			}
			owner := build.RootOwned
			if keepOwner {
				owner = build.AsOnDisk
			}
			p := startProgress(cmd.ErrOrStderr(), "packing "+args[0])
			img, err := st.Build(cmd.Context(), args[0], from, name, owner, spec)
			p.stop()
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", firstName(img), shortID(img))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&name, "tag", "t", "", "name of the image")
	f.StringVar(&from, "from", "", "image on this machine to build on")
	f.StringArrayVar(&spec.Entrypoint, "entrypoint", nil, "program to run; repeat for its fixed arguments")
	f.StringArrayVar(&spec.Cmd, "cmd", nil, "default argument; repeat for more")
	f.StringArrayVarP(&spec.Env, "env", "e", nil, "environment variable KEY=VALUE")
	f.StringVar(&spec.WorkDir, "workdir", "", "directory to start in")
	f.StringVar(&spec.User, "user", "", "user, or user:group, to run as")
	f.StringArrayVar(&spec.Expose, "expose", nil, "port that it listens on, as 80 or 53/udp")
	f.BoolVar(&keepOwner, "keep-owner", false, "keep owners and times of the files instead of giving all to root")
	if err := cmd.MarkFlagRequired("tag"); err != nil {
		panic(err) // the flag is defined a few lines above
	}
	return cmd
}

func firstName(img runtime.Image) string {
	switch {
	case len(img.Tags) > 0:
		return img.Tags[0]
	case len(img.Digests) > 0:
		return img.Digests[0]
	}
	return "<none>"
}

func shortID(img runtime.Image) string {
	const length = len("sha256:") + 12
	return strings.TrimPrefix(img.ID[:min(length, len(img.ID))], "sha256:")
}

func size(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, "k"
	for _, p := range []string{"M", "G", "T"} {
		if value < unit {
			break
		}
		value, prefix = value/unit, p
	}
	return fmt.Sprintf("%.1f %sB", value, prefix)
}
