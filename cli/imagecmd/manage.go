package imagecmd

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"clipper/image"
)

func (s *store) inspectCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect IMAGE...",
		Short: "Show all that is known of images, as JSON",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := s.open()
			if err != nil {
				return err
			}
			var found []image.Details
			for _, ref := range args {
				d, err := st.Inspect(ref)
				if err != nil {
					return err
				}
				found = append(found, d)
			}
			out := json.NewEncoder(cmd.OutOrStdout())
			out.SetIndent("", "  ")
			return out.Encode(found)
		},
	}
}

func (s *store) pruneCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove images that no container uses",
		Long: `Removes images that no container on this machine is made from. Pinned ones stay, and those
that were imported, unless --all is given: no registry may have them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := s.open()
			if err != nil {
				return err
			}
			gone, err := st.Prune(cmd.Context(), all)
			for _, img := range gone {
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s\n", firstName(img), shortID(img), size(img.Size))
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "imported images too")
	return cmd
}

// pinCmd is pin or unpin.
func (s *store) pinCmd(pin bool) *cobra.Command {
	use, short := "pin IMAGE...", "Keep images when the disk runs full"
	if !pin {
		use, short = "unpin IMAGE...", "Let images go when the disk runs full and no container uses them"
	}
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			st, err := s.open()
			if err != nil {
				return err
			}
			var errs []error
			for _, ref := range args {
				errs = append(errs, st.Pin(ref, pin))
			}
			return errors.Join(errs...)
		},
	}
}
