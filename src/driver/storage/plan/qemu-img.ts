/** Command lines of qemu-img: pure. Passphrases are named by the file that they are in, never given. */
import type { VolumeTarget } from '../../../model/storage/volume.ts';
import { type Command, command } from './command.ts';

/** A passphrase on its way to qemu-img. */
export interface PassphraseFile {
  readonly path: string;
}

export interface ImageRequest {
  readonly path: string;
  readonly format: string;
  /** Bytes that a guest sees. */
  readonly capacity: bigint;
  readonly target: Pick<VolumeTarget, 'compat' | 'clusterSize' | 'features' | 'nocow' | 'encryption'>;
  readonly backing?: { readonly path: string; readonly format: string } | undefined;
  readonly preallocation?: 'metadata' | 'falloc' | undefined;
  readonly passphrase?: PassphraseFile | undefined;
}

/** An image that is read. */
export interface InputImage {
  readonly path: string;
  readonly format: string;
  readonly encryption?: 'luks' | undefined;
  readonly passphrase?: PassphraseFile | undefined;
}

/** Ids of secret objects within one qemu-img. */
const SECRET = { input: 'source0', output: 'target0' } as const;
const KIB = 1024n;

/** `qemu-img create`. */
export function planCreate(request: ImageRequest): Command {
  const { path, capacity, backing } = request;
  return command(
    'qemu-img',
    'create',
    '-f',
    driverOf(request),
    ...secretObject(SECRET.output, request.passphrase),
    ...(backing === undefined ? [] : ['-b', backing.path]),
    ...optionArguments(imageOptions(request)),
    path,
    sizeArgument(capacity),
  );
}

/** `qemu-img convert`: the output gets the input's size, and stands on nothing, whatever the input stands on. */
export function planConvert(input: InputImage, request: ImageRequest): Command {
  const source = inputArguments(input);
  return command(
    'qemu-img',
    'convert',
    ...source.before,
    '-O',
    driverOf(request),
    ...secretObject(SECRET.output, request.passphrase),
    ...optionArguments(imageOptions({ ...request, backing: undefined })),
    source.image,
    request.path,
  );
}

/** `qemu-img resize`. */
export function planResize(image: InputImage, capacity: bigint, { shrink }: { readonly shrink: boolean }): Command {
  const source = inputArguments(image);
  return command(
    'qemu-img',
    'resize',
    ...source.before,
    ...(shrink ? ['--shrink'] : []),
    source.image,
    String(capacity),
  );
}

/** The format that qemu-img knows: an encrypted raw volume is a LUKS container. */
function driverOf({ format, target }: ImageRequest): string {
  return format === 'raw' && target.encryption !== undefined ? 'luks' : format;
}

function imageOptions({ format, target, backing, preallocation, passphrase }: ImageRequest): string[] {
  const { encryption, compat, clusterSize, features, nocow } = target;
  const options: string[] = [];
  if (backing !== undefined) options.push(`backing_fmt=${backing.format}`);
  if (encryption !== undefined && passphrase !== undefined) {
    const prefix = format === 'qcow2' ? 'encrypt.' : '';
    if (prefix !== '') options.push('encrypt.format=luks');
    options.push(`${prefix}key-secret=${SECRET.output}`, ...cipherOptions(encryption, prefix));
  }
  if (preallocation !== undefined) options.push(`preallocation=${preallocation}`);
  if (nocow === true) options.push('nocow=on');
  if (format === 'qcow2') options.push(`compat=${compat ?? '0.10'}`);
  if (format === 'qcow2' && clusterSize !== undefined && clusterSize > 0n) options.push(`cluster_size=${clusterSize}`);
  if (format === 'qcow2' && features?.lazyRefcounts === true) options.push('lazy_refcounts=on');
  if (format === 'qcow2' && features?.extendedL2 === true) options.push('extended_l2=on');
  return options;
}

function cipherOptions({ cipher, ivgen }: NonNullable<VolumeTarget['encryption']>, prefix: string): string[] {
  const options: string[] = [];
  if (cipher !== undefined) {
    options.push(`${prefix}cipher-alg=${escape(cipher.name)}-${cipher.size}`);
    if (cipher.mode !== undefined) options.push(`${prefix}cipher-mode=${escape(cipher.mode)}`);
    if (cipher.hash !== undefined) options.push(`${prefix}hash-alg=${escape(cipher.hash)}`);
  }
  if (ivgen !== undefined) {
    options.push(`${prefix}ivgen-alg=${escape(ivgen.name)}`);
    if (ivgen.hash !== undefined) options.push(`${prefix}ivgen-hash-alg=${escape(ivgen.hash)}`);
  }
  return options;
}

function optionArguments(options: readonly string[]): string[] {
  return options.length === 0 ? [] : ['-o', options.join(',')];
}

function secretObject(id: string, passphrase: PassphraseFile | undefined): string[] {
  return passphrase === undefined ? [] : ['--object', `secret,id=${id},file=${escape(passphrase.path)}`];
}

/** An encrypted image is described, as its key is one of its options. */
function inputArguments(input: InputImage): { readonly before: readonly string[]; readonly image: string } {
  const { path, format, encryption, passphrase } = input;
  if (encryption === undefined || passphrase === undefined) return { before: ['-f', format], image: path };
  const file = `file.driver=file,file.filename=${escape(path)}`;
  const image =
    format === 'raw'
      ? `driver=luks,key-secret=${SECRET.input},${file}`
      : `driver=${format},encrypt.key-secret=${SECRET.input},${file}`;
  return { before: [...secretObject(SECRET.input, passphrase), '--image-opts'], image };
}

/** Whole KiB, rounded up, as older formats want. */
function sizeArgument(bytes: bigint): string {
  return `${(bytes + KIB - 1n) / KIB}K`;
}

/** Commas separate options: in values they are doubled. */
function escape(value: string): string {
  return value.replaceAll(',', ',,');
}
