import tailwindcss from "@tailwindcss/vite"
import react from "@vitejs/plugin-react"
import { defineConfig } from "vite"

export default defineConfig({
  // AppKit's stylesheet is written for Tailwind, which compiles it.
  plugins: [react(), tailwindcss()],
  build: { chunkSizeWarningLimit: 4096 }
})
