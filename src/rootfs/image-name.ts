/** Names of images: `debian:bookworm`, `ubuntu:22.04`, `arch`, or whatever somebody has imported or saved one as. */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { DISTRIBUTIONS, type Distribution, findDistribution, findRelease, RELEASES, type Release } from './releases.ts';

/** What is in the folder of images may be named so. */
const NAME = /^[a-z0-9][a-z0-9._-]*(\/[a-z0-9][a-z0-9._-]*)*(:[A-Za-z0-9._-]+)?$/;

/** @throws VirtError INVALID_ARG */
export function requireImageName(name: string): string {
  if (NAME.test(name) && name.length <= 200) return name;
  throw invalid(
    `'${name}' is no name of an image; one is like debian:bookworm: small letters, digits, dots, dashes, and a tag`,
  );
}

export interface BuildableName {
  readonly distribution: Distribution;
  readonly release: Release;
  /** `debian:bookworm`, whatever alias was asked for. */
  readonly name: string;
}

/**
 * What `debian:bookworm` means. A release that the table does not have is taken as it is when there is a mirror to ask.
 * @throws VirtError INVALID_ARG that lists what there is
 */
export function parseBuildableName(text: string, { hasMirror = false }: { hasMirror?: boolean } = {}): BuildableName {
  const [distributionName = '', releaseName] = requireImageName(text).split(':');
  const distribution = findDistribution(distributionName);
  if (distribution === undefined) {
    const known = DISTRIBUTIONS.map(({ name }) => name).join(', ');
    throw invalid(`there is no way to build '${text}': known are ${known}; others come by 'nestling image import'`);
  }
  const wanted = releaseName ?? distribution.latest;
  const release = findRelease(distribution.name, wanted);
  if (release !== undefined) return { distribution, release, name: nameOf(distribution, release) };
  if (hasMirror) {
    const unknown = { distribution: distribution.name, name: wanted, version: wanted };
    return { distribution, release: unknown, name: nameOf(distribution, unknown) };
  }
  const known = RELEASES.filter((entry) => entry.distribution === distribution.name).map(({ name }) => name);
  throw invalid(
    `${distribution.name} has no release '${wanted}' that is known here; known are ${known.join(', ')}; a newer one works with --mirror URL`,
  );
}

function nameOf(distribution: Distribution, release: Release): string {
  return release.name === 'rolling' ? distribution.name : `${distribution.name}:${release.name}`;
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.LXC });
}
