/** Root file systems of containers, without a container: built, kept, unpacked, run in and changed before they boot. `nestling/rootfs`. */
export { type BuildImageOptions, type BuiltImage, buildImage } from './build-image.ts';
export { type BuildPlan } from './build-plan.ts';
export { foreignArchitecture } from './foreign.ts';
export { type Image, ImageStore } from './image-store.ts';
export { importImage } from './import-image.ts';
export { planBuild } from './plan-build.ts';
export { type ProvisionRequest } from './plan-provision.ts';
export { provision } from './provision.ts';
export { type RunInRootOptions, type RunResult, runInRoot } from './run-in-root.ts';
export { type UnpackImageOptions, unpackImage } from './unpack-image.ts';
