# The package with everything, and the demo: `docker build -t agentgym . && docker run agentgym`.
# Any verb: `docker run -p 8422:8422 agentgym agentgym serve babyai-goto-redball --host 0.0.0.0`.
# For torch without CUDA, a third of the size: `--build-arg PIP_EXTRA_INDEX_URL=...` with the index that pytorch.org names.
FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1
WORKDIR /agentgym
COPY . .
RUN python -m pip install --constraint constraints.txt ".[all]"
RUN agentgym list agents
RUN agentgym run babyai-goto-redball --run /tmp/try --data /tmp/data --workers 1 \
    --set dataset.episodes=20 --set training.updates=4 --set training.evaluate_episodes=2 --set evaluation.episodes=2 && \
    rm -r /tmp/try /tmp/data
EXPOSE 8421 8422
CMD ["agentgym", "run", "babyai-goto-redball"]
