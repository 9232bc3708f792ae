package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"clipper/daemon"
	"clipper/store/encrypt"
)

// encryptionFlags say which server and which file the subcommands are about.
type encryptionFlags struct{ dataDir, file string }

func (f *encryptionFlags) add(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&f.dataDir, "data-dir", daemon.DefaultDataDir, "the server's data directory")
	cmd.Flags().StringVar(&f.file, "encryption-provider-config", "", "the server's EncryptionConfiguration; default: its own, in the data directory")
	return cmd
}

func (f *encryptionFlags) path() string {
	if f.file != "" {
		return f.file
	}
	return daemon.EncryptionConfigPath(f.dataDir)
}

func newSecretsEncryption() *cobra.Command {
	cmd := &cobra.Command{Use: "secrets-encryption", Short: "See and rotate the keys of data at rest"}
	cmd.AddCommand(newEncryptionStatus(), newEncryptionRotate(), newEncryptionReencrypt())
	return cmd
}

func newEncryptionStatus() *cobra.Command {
	var flags encryptionFlags
	return flags.add(&cobra.Command{
		Use:   "status",
		Short: "Say how far a rotation is and what is not encrypted with the key in use",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := daemon.DialEncryption(cmd.Context(), flags.dataDir)
			if err != nil {
				return err
			}
			st, err := server.Status()
			if err != nil {
				return err
			}
			return printEncryption(cmd, flags.path(), st)
		},
	})
}

func printEncryption(cmd *cobra.Command, path string, st *encrypt.Status) error {
	stage := "keys outside of the file"
	if f, err := encrypt.ReadFile(path); err != nil {
		return err
	} else if s, err := f.Stage(); err == nil {
		stage = s.String()
	}
	hash, err := encrypt.FileHash(path)
	if err != nil {
		return err
	}
	inUse := "yes"
	if hash != st.Hash {
		inUse = "no: " + st.Error
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "File:      %s\nIn use:    %s\nRotation:  %s\nTo write:  %d objects are encrypted otherwise, or not at all\n",
		path, inUse, stage, st.Left())
	return err
}

func newEncryptionRotate() *cobra.Command {
	var flags encryptionFlags
	return flags.add(&cobra.Command{
		Use:   "rotate",
		Short: "Change to a new key, write everything again with it, and forget the old one",
		Long: `Change to a new key: it is added to the file, then written with, then everything that the old key
encrypts is written again, and the old key is removed. The server reads the file by itself. If this is interrupted,
nothing is lost: run it again, and it goes on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := daemon.DialEncryption(cmd.Context(), flags.dataDir)
			if err != nil {
				return err
			}
			return encrypt.Rotate(flags.path(), server, time.Now(), func(step string) { fmt.Fprintln(cmd.OutOrStdout(), step) })
		},
	})
}

func newEncryptionReencrypt() *cobra.Command {
	var flags encryptionFlags
	return flags.add(&cobra.Command{
		Use:   "reencrypt",
		Short: "Write again what is not encrypted as the file says: after a change of the file, or of a KMS key",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := daemon.DialEncryption(cmd.Context(), flags.dataDir)
			if err != nil {
				return err
			}
			return encrypt.Rewrite(server, func(step string) { fmt.Fprintln(cmd.OutOrStdout(), step) })
		},
	})
}
