// Taking a photo with the camera, in a dialog.

import { byId } from "./dom.js";

const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it in the address bar, or drop a photo here instead.",
  NotFoundError: "No camera was found. Drop a photo here instead.",
  NotReadableError: "The camera is in use by another program. Close that program and try again.",
};

/** Offers the camera where the browser supports it; `onPhoto` is called with the photo as a file. */
export function prepare(onPhoto) {
  // Browsers offer it only to pages from this machine or over HTTPS.
  if (!navigator.mediaDevices?.getUserMedia) return;
  const [dialog, video] = [byId("camera"), byId("video")];
  let stream = null;

  byId("camera-open").hidden = false;
  byId("camera-open").addEventListener("click", async () => {
    byId("camera-text").textContent = "Waiting for the camera …";
    dialog.showModal();
    try {
      const camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
      if (!dialog.open) return stopTracks(camera);
      stream = video.srcObject = camera;
      video.hidden = false;
    } catch (error) {
      byId("camera-text").textContent = REASONS[error.name] ?? "The camera could not be used. Drop a photo here instead.";
    }
  });
  video.addEventListener("loadeddata", () => {
    byId("camera-shutter").hidden = false;
    byId("camera-shutter").focus();
    byId("camera-text").textContent = "";
  });
  byId("camera-shutter").addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      dialog.close();
      onPhoto(new File([blob], "camera.jpg", { type: "image/jpeg" }));
    }, "image/jpeg", 0.92);
  });
  byId("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    if (stream) stopTracks(stream);
    stream = video.srcObject = null;
    video.hidden = byId("camera-shutter").hidden = true;
  });
}

function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}
