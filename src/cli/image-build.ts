/** `nestling image build`: builds or finds an image and tells how it goes. */
import { type BuildImageOptions, buildImage, choosePlan, requireTools } from '../rootfs/build-image.ts';
import { quoteWords } from '../rootfs/plan-unpack.ts';
import { ProgressLine } from './progress-line.ts';
import { onePositional, parseChoice, parseOptions } from './usage.ts';

const HELP = `Usage: nestling image build NAME [OPTIONS]

Builds debian:bookworm, ubuntu:jammy, fedora:43, rocky:9, almalinux:9, arch and their like. Releases may be named by code
name or version. What was built before is taken from the store, unless the mirror has changed since.

Options:
      --arch ARCH          arm64, armhf, s390x, …; by any world's name. Default: this host's. Foreign ones are built
                           by emulation (package qemu-user-static), in a namespace of their own
      --packages LIST      more packages, by commas; may be given again
      --mirror URL         where packages come from (http, https, file)
      --archive            among old releases, also when they are not known to be old
      --components LIST    main,contrib,…
      --variant NAME       how much: minbase (default), essential, important, … as mmdebstrap and debootstrap have them
      --keyring FILE       keys that sign it
      --insecure           check no signatures
      --builder NAME       mmdebstrap or debootstrap
      --no-cache           build anew in any case
      --refresh            take no image from the store while the mirror does not answer
      --register-binfmt    where this kernel (before 6.7) cannot register an emulator for one build, do it for the host
      --dry-run            print the commands, and whether this host has what they need
      --json               the image as one JSON object
  -h, --help               this text
`;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, {
    arch: { type: 'string' },
    packages: { type: 'string', multiple: true },
    mirror: { type: 'string' },
    archive: { type: 'boolean' },
    components: { type: 'string' },
    variant: { type: 'string' },
    keyring: { type: 'string' },
    insecure: { type: 'boolean' },
    builder: { type: 'string' },
    'no-cache': { type: 'boolean' },
    refresh: { type: 'boolean' },
    'register-binfmt': { type: 'boolean' },
    'dry-run': { type: 'boolean' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const name = onePositional(positionals, 'the name');
  const request: BuildImageOptions = {
    arch: values.arch,
    packages: (values.packages ?? []).flatMap(splitList),
    mirror: values.mirror,
    archive: values.archive,
    components: values.components === undefined ? undefined : splitList(values.components),
    variant: values.variant,
    keyring: values.keyring,
    insecure: values.insecure,
    builder:
      values.builder === undefined
        ? undefined
        : parseChoice(values.builder, ['mmdebstrap', 'debootstrap'], '--builder'),
    registerBinfmt: values['register-binfmt'],
    cache: values['no-cache'] === true ? 'none' : values.refresh === true ? 'refresh' : 'use',
  };
  if (values['dry-run'] === true) return dryRun(name, request);
  using progress = new ProgressLine(process.stderr);
  const { image, isCached } = await buildImage(name, {
    ...request,
    onProgress: ({ title, line }) => progress.show(`${title}: ${line.replace(/^[A-Z]: /, '')}`),
    onNote: (note) => progress.note(`nestling image: ${note}`),
  });
  progress.clear();
  if (values.json === true) process.stdout.write(`${JSON.stringify({ ...image, isCached })}\n`);
  else
    process.stdout.write(`${image.name} ${image.arch} ${image.key.slice(0, 12)}${isCached ? ' (in the store)' : ''}\n`);
  return 0;
}

function dryRun(name: string, request: BuildImageOptions): number {
  const plan = choosePlan(name, request);
  for (const note of plan.notes) process.stderr.write(`nestling image: ${note}\n`);
  for (const { command, args, env = {} } of plan.steps) {
    const variables = Object.entries(env).map(([variable, value]) => `${variable}=${value} `);
    process.stdout.write(`${variables.join('')}${quoteWords([command, ...args])}\n`);
  }
  requireTools(plan);
  return 0;
}

function splitList(text: string): string[] {
  return text.split(/[,\s]+/).filter((word) => word !== '');
}
