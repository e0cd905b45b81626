/** The package's version, set by the build from package.json. */
declare const NESTLING_VERSION: string | undefined;

/** `0.0.0-source` when run without a build (tests). */
export const VERSION: string = typeof NESTLING_VERSION === 'string' ? NESTLING_VERSION : '0.0.0-source';
