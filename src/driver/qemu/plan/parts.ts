/**
 * What planning a guest or one device yields: parts in the order in which QEMU must meet them. At start they
 * become command-line options, on hot plug the same data goes over QMP. No host access here.
 */
import type { SecretReference } from '../../../guest/secret-store.ts';
import type { Props } from './props.ts';

/** One piece of a guest. The kinds that QMP can add live are those with a command in LIVE_COMMANDS. */
export type Part =
  | { readonly kind: 'object'; readonly props: Props }
  | { readonly kind: 'blockdev'; readonly props: Props }
  | { readonly kind: 'netdev'; readonly props: Props }
  | { readonly kind: 'device'; readonly props: Props }
  | { readonly kind: 'audiodev'; readonly props: Props }
  /** `props.backend` is the chardev's kind (socket, pty, file, …) and comes first; `props.id` its id. */
  | { readonly kind: 'chardev'; readonly props: Props }
  /** key=value options: `implied` names the property whose key is not written when it comes first. */
  | { readonly kind: 'keyval'; readonly option: string; readonly props: Props; readonly implied?: string }
  /** An option whose value has no commas to escape. `option` has no dash. */
  | { readonly kind: 'option'; readonly option: string; readonly value?: string }
  /** One word of the user's own (qemu:commandline), passed on as it is. */
  | { readonly kind: 'argument'; readonly text: string };

/** A file descriptor that QEMU inherits; its number is fixed when it is requested. */
export type FdRequest =
  /** One end of a socket pair; the other is the caller's stream, known by this name. */
  | { readonly kind: 'socketpair'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string; readonly flags: 'r' | 'r+' | 'a' | 'w' }
  /** Nothing: the number is left to whoever sets QEMU up, in a shell, which knows those of one digit. */
  | { readonly kind: 'spare' }
  /** Content written to a pipe by the caller: secrets. `secret` is never logged. */
  | {
      readonly kind: 'secret';
      readonly secret: SecretReference;
      readonly format: 'raw' | 'base64';
      /** Base64: the content is encrypted with the master key (AES-256-CBC) under this vector, and written in base64. */
      readonly iv?: string;
    }
  | { readonly kind: 'master-key' }
  | { readonly kind: 'tap'; readonly interfaceAlias: string; readonly queue: number }
  | { readonly kind: 'vhost-net'; readonly interfaceAlias: string; readonly queue: number }
  | { readonly kind: 'vhost-vsock' }
  /** A listening socket; `blocking` for programs that call accept(2) before anybody can have connected. */
  | { readonly kind: 'listen-unix'; readonly path: string; readonly blocking?: boolean };

/** A file or directory to make before QEMU starts, removed with the guest unless `keep`. */
export type FileRequest =
  | { readonly kind: 'directory'; readonly path: string; readonly mode: number; readonly keep?: boolean }
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly mode: number;
      readonly content: string;
      readonly keep?: boolean;
    }
  /** Copied only when it is not there yet (UEFI variables). */
  | {
      readonly kind: 'copy';
      readonly path: string;
      readonly template: string;
      readonly mode: number;
      readonly format?: { readonly from: string; readonly to: string };
    }
  /** A socket that QEMU or a helper makes: only to be removed. */
  | { readonly kind: 'socket'; readonly path: string };

/** A process that must be up before QEMU (swtpm, virtiofsd, passt). */
export interface HelperProcess {
  /** Name for logs and the ledger: `swtpm`, `fs0-virtiofsd`. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Ready once this socket exists. */
  readonly readySocket?: string;
  /** Runs as the user of this setting (`swtpm_user`), where one is set; else as we do. */
  readonly runsAs?: 'swtpm';
  /** Runs to its end before the rest (`swtpm_setup`). */
  readonly oneShot?: boolean;
  /** fds it inherits, in order from 3. */
  readonly fds?: readonly FdRequest[];
}

/** A QMP command to run after QEMU is up and before the guest's first instruction. */
export interface DeferredCommand {
  readonly command: string;
  readonly arguments?: Props;
  /** Failure is logged and the start goes on. */
  readonly optional?: boolean;
}

/** The QMP command that adds each kind of part to a running guest. */
export const LIVE_COMMANDS = {
  object: 'object-add',
  blockdev: 'blockdev-add',
  netdev: 'netdev_add',
  device: 'device_add',
  chardev: 'chardev-add',
  audiodev: 'audiodev-add',
} as const;
